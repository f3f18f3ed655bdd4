"""What the page of one operation shows."""

from __future__ import annotations

import dataclasses
import pprint
from datetime import datetime
from typing import Any

from django.utils.text import capfirst
from django.utils.translation import gettext, pgettext, pgettext_lazy

from django_task_safety import presentation
from django_task_safety.admin import cells, links, looking
from django_task_safety.admin.acting import VERBS
from django_task_safety.errors import InvalidPayload
from django_task_safety.ledger.history import AttemptRecord, EventRecord
from django_task_safety.models import Operation
from django_task_safety.producer import redaction
from django_task_safety.record import State
from django_task_safety.values import codec
from django_task_safety.values.clock import as_aware

#: Characters shown of a value or a traceback.
LONGEST = 20_000


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """A line of the timeline."""

    at: datetime
    what: str
    more: str = ""
    #: For the stylesheet: "good", "bad" or "quiet".
    tone: str = "quiet"

    @property
    def moment(self) -> str:
        """When that was, as people read it."""
        return cells.moment(self.at)


def context(operation: Any, request: Any, site: Any) -> dict[str, Any]:
    """Return what the templates of the page show of an operation, to this user."""
    attempts, events = operation.attempts, operation.events
    names = links.user_names([operation.requested_by, *(event.by for event in events)])
    may_read = request.user.has_perm(f"{Operation._meta.app_label}.view_operation_arguments")
    return {
        "operation": operation,
        "shown_title": cells.title_of(operation),
        "shown_state": cells.state(operation),
        "percent": presentation.percent(operation) if operation.is_pending else None,
        "object_link": links.object_link(site, request, operation),
        "requester_link": links.requester_link(site, operation.requested_by, names),
        "age": presentation.in_words(presentation.age(operation)),
        "duration": presentation.in_words(presentation.duration(operation)),
        "timeline": timeline(operation, attempts, events, names),
        "attempts": [dataclasses.replace(attempt, outcome=_outcome(attempt)) for attempt in attempts],
        "worker_link": links.worker_link(site, request, operation.worker),
        "why": operation.why,
        "waiting": looking.waiting_for(operation),
        "may_read": may_read,
        **(_values(operation) if may_read else {}),
        "buttons": [
            (verb, links.operation_url(site, operation.pk, verb.name))
            for verb in VERBS.values()
            if operation.state in verb.states and verb.allowed(request.user)
        ],
    }


def timeline(
    operation: Operation, attempts: list[AttemptRecord], events: list[EventRecord], names: dict[str, str]
) -> list[Step]:
    """Return what happened to an operation, in the order of time."""
    asker = names.get(operation.requested_by, operation.requested_by)
    steps = [
        Step(operation.created_at, gettext("Asked for"), gettext("by %(user)s") % {"user": asker} if asker else "")
    ]
    if as_aware(operation.available_at) > as_aware(operation.created_at):
        steps.append(Step(operation.available_at, gettext("Due")))
    for attempt in attempts:
        steps += _steps_of(attempt)
    for event in events:
        by = names.get(event.by, event.by)
        steps.append(Step(event.at, _EVENTS.get(event.what, str)(event.what), ": ".join(filter(None, [by, event.why]))))
    # After a retry by hand attempts are counted from one again.
    if operation.started_at and not any(attempt.started_at == as_aware(operation.started_at) for attempt in attempts):
        number = {"number": operation.attempt}
        steps.append(Step(operation.started_at, gettext("Attempt %(number)s started") % number, operation.worker))
    if operation.ended_at:
        said = any(operation.error in step.more for step in steps)
        error = "" if said or operation.state == State.SUCCEEDED else operation.error
        steps.append(
            Step(operation.ended_at, capfirst(presentation.state_word(operation)), error, presentation.tone(operation))
        )
    elif operation.expires_at:
        steps.append(Step(operation.expires_at, gettext("Expires, unless it has started")))
    return sorted(steps, key=lambda step: as_aware(step.at))


def _steps_of(attempt: AttemptRecord) -> list[Step]:
    number, steps = {"number": attempt.number}, []
    if attempt.started_at:
        steps.append(Step(attempt.started_at, gettext("Attempt %(number)s started") % number, attempt.worker))
    if attempt.ended_at and attempt.outcome != State.SUCCEEDED:
        said = gettext("Attempt %(number)s ended: %(outcome)s") % {**number, "outcome": _outcome(attempt)}
        steps.append(Step(attempt.ended_at, said, attempt.error, "bad"))
    return steps


_EVENTS: dict[str, Any] = {
    "cancel": lambda _: pgettext("event", "Cancelled by hand"),
    "retry": lambda _: pgettext("event", "Retried by hand"),
    "rerun": lambda _: pgettext("event", "Run once more by hand"),
}


_OUTCOMES = {
    "succeeded": pgettext_lazy("outcome of an attempt", "succeeded"),
    "failed": pgettext_lazy("outcome of an attempt", "failed"),
    "retried": pgettext_lazy("outcome of an attempt", "retried"),
    "requeued": pgettext_lazy("outcome of an attempt", "queued again"),
    "cancelled": pgettext_lazy("outcome of an attempt", "cancelled"),
}


def _outcome(attempt: AttemptRecord) -> str:
    return str(_OUTCOMES.get(attempt.outcome, attempt.outcome))


def _values(operation: Operation) -> dict[str, Any]:
    return {
        "arguments": _arguments(operation),
        "result": _result(operation),
        "traceback": operation.traceback[-LONGEST:],
    }


def _arguments(operation: Operation) -> list[tuple[str, str]]:
    """Return the names and values of the arguments, hidden ones as dots; what cannot be read, with the reason."""
    try:
        found = redaction.named_arguments(operation)
    except (InvalidPayload, TypeError, ValueError) as exc:  # somebody wrote another text into the column
        return [("", str(exc))]
    if found is None:
        return [("", gettext("This process does not know the task, and so not which arguments are to be hidden."))]
    return [(name, _shown(value)) for name, value in found.items()]


def _result(operation: Operation) -> str:
    try:
        return "" if operation.result is None else _shown(operation.result)
    except InvalidPayload as exc:
        return str(exc)


def _shown(value: Any) -> str:
    return codec.printable(pprint.pformat(value, width=100, compact=True), LONGEST)
