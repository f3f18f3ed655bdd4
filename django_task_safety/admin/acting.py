"""Cancel, retry and rerun: many operations at once, each only where that can be done."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.admin.models import CHANGE, LogEntry
from django.db import OperationalError, transaction
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from django_task_safety.admin import cells
from django_task_safety.conf import conf
from django_task_safety.errors import ObjectGone, ObjectLocked, TaskSafetyError
from django_task_safety.ledger import table
from django_task_safety.ledger.patience import CLAIM_WAIT, bounded, kept
from django_task_safety.models import Operation
from django_task_safety.record import State

ENDED, PENDING, UNDONE = "ended", "pending", "undone"
LOCKED, GONE, REFUSED, HELD = "locked", "gone", "refused", "held"
#: Why something was skipped; also as the result of an operation.
WHY: dict[str, Promise] = {
    ENDED: _("they had ended"),
    PENDING: _("they are pending, or have succeeded"),
    UNDONE: _("they have not succeeded"),
    LOCKED: _("their objects are locked"),
    GONE: _("their objects do not exist any more"),
    REFUSED: _("they cannot be queued again"),
    HELD: _("somebody else is changing them; try again"),
}


@dataclasses.dataclass(slots=True)
class Outcome:
    """What came of it."""

    done: int = 0
    #: How many were skipped for each of the reasons in `WHY`.
    skipped: Counter[str] = dataclasses.field(default_factory=Counter)

    def add(self, other: Outcome) -> None:
        self.done += other.done
        self.skipped += other.skipped


@dataclasses.dataclass(frozen=True, slots=True)
class Verb:
    """Something that can be done with operations."""

    name: str
    permission: str
    label: Promise
    question: Promise
    #: ``%(count)s`` were …
    said: Promise
    #: In which states it makes sense, and what is said of the others.
    states: tuple[State, ...]
    otherwise: str
    act: Callable[[Sequence[UUID], Any, str], tuple[list[Operation], Counter[str]]]

    def allowed(self, user: Any) -> bool:
        """Return whether a user has the permission for it."""
        return bool(user.is_active and user.has_perm(f"{Operation._meta.app_label}.{self.permission}"))

    def among(self, found: Any, asked_at: datetime) -> Any:
        """Return those that it makes sense with, as of when it was asked for: what ended afterwards is not meant."""
        fitting = found.filter(state__in=self.states)
        return fitting if State.QUEUED in self.states else fitting.filter(ended_at__lte=asked_at)


def act(verb: Verb, pks: Sequence[UUID], user: Any, reason: str = "") -> Outcome:
    """Do it with those that it can be done with, and log each of them in the admin's log, in one transaction."""
    with transaction.atomic(using=conf().DATABASE), kept(table.connection()):
        # And so long for the objects that they are about.
        rows = bounded(table.by_id(*pks), CLAIM_WAIT).only("pk")
        free = [row.pk for row in table.locked(rows)]
        done, skipped = verb.act(free, user, reason)
        if len(free) < len(pks):
            skipped[HELD] += table.by_id(*pks).count() - len(free)
        skipped[ENDED] += len(pks) - len(done) - skipped.total()  # gone altogether: pruned
        if done:
            said = f"{verb.label}: {reason}" if reason else str(verb.label)
            found: Any = done
            LogEntry.objects.log_actions(user.pk, found, CHANGE, said)
    return Outcome(len(done), +skipped)


def skipped(count: int, why: str) -> str:
    """Return how many were skipped, and why, in words."""
    said = ngettext("%(count)s skipped: %(why)s.", "%(count)s skipped: %(why)s.", count)
    return said % {"count": f"{count:,}", "why": WHY[why]}


def _cancel(pks: Sequence[UUID], user: Any, reason: str) -> tuple[list[Operation], Counter[str]]:
    # Locked by now, so that those are told and logged that this cancels.
    pending = list(Operation.objects.filter(pk__in=pks).pending().order_by("pk").defer(*cells.HEAVY))
    options = {"reason": reason} if reason else {}
    Operation.objects.filter(pk__in=[one.pk for one in pending]).cancel(**options, by=user)
    return pending, Counter({ENDED: len(pks) - len(pending)})


def _retry(pks: Sequence[UUID], user: Any, reason: str) -> tuple[list[Operation], Counter[str]]:
    return _each(pks, PENDING, lambda operation: operation.retry(by=user))


def _rerun(pks: Sequence[UUID], user: Any, reason: str) -> tuple[list[Operation], Counter[str]]:
    return _each(pks, UNDONE, lambda operation: operation.rerun(by=user))


def _each(
    pks: Sequence[UUID], otherwise: str, call: Callable[[Operation], bool]
) -> tuple[list[Operation], Counter[str]]:
    done, skipped = [], Counter[str]()
    for operation in Operation.objects.filter(pk__in=pks).order_by("pk").defer(*cells.HEAVY):
        try:
            with transaction.atomic(using=conf().DATABASE):
                queued = call(operation)
            if queued:
                done.append(operation)
            else:
                skipped[otherwise] += 1
        except ObjectLocked:
            skipped[LOCKED] += 1
        except ObjectGone:
            skipped[GONE] += 1
        except TaskSafetyError:
            skipped[REFUSED] += 1
        except OperationalError as exc:
            if not table.is_lock_timeout(exc):
                raise
            skipped[HELD] += 1
    return done, skipped


CANCEL = Verb(
    "cancel",
    "cancel_operation",
    _("Cancel"),
    _("Cancel this? What is running is told to stop, and none of its effects stay."),
    _("%(count)s cancelled."),
    (State.QUEUED, State.RUNNING),
    ENDED,
    _cancel,
)
RETRY = Verb(
    "retry",
    "retry_operation",
    _("Retry"),
    _("Queue this again, with its stored arguments and all its attempts?"),
    _("%(count)s queued again."),
    (State.FAILED, State.CANCELLED),
    PENDING,
    _retry,
)
RERUN = Verb(
    "rerun",
    "retry_operation",
    _("Rerun"),
    _("Run what succeeded once more? It is new work: its effects happen again."),
    _("%(count)s queued once more."),
    (State.SUCCEEDED,),
    UNDONE,
    _rerun,
)
VERBS = {verb.name: verb for verb in (CANCEL, RETRY, RERUN)}
