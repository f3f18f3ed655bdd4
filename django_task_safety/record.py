"""The row of an operation: its columns, and what can be read from them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Self

from django.apps import apps
from django.db import models
from django.utils.translation import gettext_lazy as _

from django_task_safety import ids
from django_task_safety.fields import (
    ExactCharField,
    IndexWhereNotNull,
    IndexWhereNotSucceeded,
    IndexWhereSet,
    UniqueWhereSet,
)


class State(models.TextChoices):
    """Where an operation is. The last three are terminal."""

    QUEUED = "queued", _("queued")
    RUNNING = "running", _("running")
    SUCCEEDED = "succeeded", _("succeeded")
    FAILED = "failed", _("failed")
    CANCELLED = "cancelled", _("cancelled")


class OperationRows(models.QuerySet[Any]):
    """A queryset of rows, for those who are below the verbs."""

    def pending(self) -> Self:
        """Those that are queued or running."""
        return self.filter(state__in=AbstractOperation.PENDING)


@lru_cache(maxsize=1)
def operation_model() -> Any:
    """Return the concrete model, as `get_user_model` does."""
    return apps.get_model("django_task_safety", "Operation")


def new_operation(**values: Any) -> AbstractOperation:
    """Return an operation that is not written yet."""
    operation: AbstractOperation = operation_model()(**values)
    return operation


def read_operation(using: str, names: Sequence[str], values: Sequence[Any]) -> AbstractOperation:
    """Return an operation as it was read from the database ``using``: some columns, the others deferred."""
    operation: AbstractOperation = operation_model().from_db(using, names, values)
    return operation


class AbstractOperation(models.Model):
    """One piece of work, from the moment it is asked for until its outcome is pruned.

    Only `django_task_safety.ledger` changes the state; see the page on the state machine. The verbs are `Operation`'s.
    """

    State = State
    PENDING = (State.QUEUED, State.RUNNING)

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    task = ExactCharField(max_length=255)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)

    #: What people see of it, and who asked for it: a user's primary key as text, "" where nobody is known.
    title = models.CharField(max_length=255, blank=True)
    requested_by = ExactCharField(max_length=255, blank=True)
    #: The queue by which it was published last.
    queue = ExactCharField(max_length=255, blank=True)
    #: Lines of JSON, see `django_task_safety.ledger.history`.
    history = models.TextField(blank=True)

    #: The key as people read it; `key_digest` is what decides.
    key = ExactCharField(max_length=255, blank=True)
    key_digest = models.CharField(max_length=64, null=True)  # noqa: DJ001
    match_digest = models.CharField(max_length=64, blank=True)
    version = models.BigIntegerField(null=True)
    succeeded_version = models.BigIntegerField(null=True)

    #: The object's identity: ``app_label.model`` of the root model, the primary key as text (the same on every
    #: database), and the alias of the database that the object is written to.
    subject_label = ExactCharField(max_length=255, blank=True)
    subject_id = ExactCharField(max_length=255, blank=True)
    subject_database = ExactCharField(max_length=255, blank=True)
    on_delete = models.CharField(max_length=10, blank=True)
    #: The same of newer arguments that wait for the end of a running attempt, which stays tied to its own object.
    newer_subject_label = ExactCharField(max_length=255, null=True)
    newer_subject_id = ExactCharField(max_length=255, null=True)
    newer_subject_database = ExactCharField(max_length=255, null=True)
    newer_on_delete = models.CharField(max_length=10, null=True)  # noqa: DJ001
    #: The name of the lock on the object that it holds while it is pending; `lock_slot` is what decides.
    lock = ExactCharField(max_length=255, blank=True)
    lock_slot = models.CharField(max_length=64, null=True)  # noqa: DJ001

    #: The serialised ``[args, kwargs]`` and publishing options: what it takes to publish again.
    payload = models.TextField(blank=True)
    options = models.TextField(blank=True)
    #: Counts the changes of `payload`: a message that carries an older one takes the row's.
    revision = models.IntegerField(default=0)
    #: Counts the pieces of work done under one key (a newer version, a rerun of a success), from 0.
    generation = models.IntegerField(default=0)
    #: How often the sweeper published it again.
    republished = models.IntegerField(default=0)
    #: How often a sweep failed over it.
    failed_sweeps = models.IntegerField(default=0)
    #: Set on a chunk: its parent, see `django_task_safety.ledger.parents`.
    parent_id = models.UUIDField(null=True, editable=False)
    #: Of a chunk: how many rows it is about; of a parent: how many they are in all.
    size = models.IntegerField(null=True, editable=False)
    #: Set on a waiter: a duplicate whose caller, callback or canvas waits for that operation's outcome.
    waits_for = models.UUIDField(null=True, editable=False)

    attempt = models.IntegerField(default=0)
    max_attempts = models.IntegerField(null=True)
    #: The fencing token that only the current attempt knows.
    token = models.UUIDField(null=True)
    #: The process that runs the current attempt, or ran the last one.
    worker = ExactCharField(max_length=255, blank=True)

    progress = models.FloatField(null=True)
    progress_message = models.CharField(max_length=255, blank=True)
    result_payload = models.TextField(blank=True)
    error = models.TextField(blank=True)
    traceback = models.TextField(blank=True)
    #: Class and arguments of the exception of a failed operation, for those who wait for it.
    exception = models.TextField(blank=True)

    created_at = models.DateTimeField()
    #: Not to be run before this.
    available_at = models.DateTimeField()
    #: Cancelled when it has not started by this.
    expires_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    #: When a running attempt has had its time, renewed or not.
    deadline_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    retention = models.DurationField(null=True)
    #: When somebody must look at the row again: publish it, take it from a dead attempt, or prune it. None: never.
    due_at = models.DateTimeField(null=True, db_index=True)

    #: False while somebody may still have to hear of the outcome besides by the return of an attempt: callbacks, chain
    #: or chord of the message; or, of what others ended, who waits for the result.
    delivered = models.BooleanField(default=True)
    #: Handed over to a replacement: which may continue in this row, or has one of its own, for which this one waits.
    replaced = models.BooleanField(default=False)

    #: No column: the object that a row to be inserted holds on to, see `django_task_safety.ledger.subject_lock`.
    subject_row: Any = None
    #: No column either: for how many seconds inserting it waits for the end of a rival's transaction; None: until then.
    waits: int | None = None

    class Meta:
        abstract = True
        verbose_name = _("operation")
        verbose_name_plural = _("operations")
        get_latest_by = "created_at"
        permissions = (
            ("cancel_operation", "Can cancel operation"),
            ("retry_operation", "Can retry operation"),
            ("view_operation_arguments", "Can view arguments, results and tracebacks of operations"),
        )
        # Each has its query. The primary key: claim, settle and status, by id. `due_at`: the sweeper, which looks for
        # what is due in any state. The subject: what is pending on an object, and an object's operations. A key: the
        # duplicate of a call. A lock's slot: its holder. Who asked for it: somebody's own, newest first, for ids
        # grow with time. A parent: its chunks. These five leave the rows without one out. The last two are for people:
        # lists, newest first, of all and of those in one state (the ids of messages that others made do not grow with
        # time); what is pending, and what failed.
        indexes = (
            IndexWhereSet(fields=["subject_label", "subject_id", "state"], name="task_safety_subject"),
            IndexWhereSet(fields=["requested_by", "id"], name="task_safety_requested_by"),
            IndexWhereNotNull(fields=["parent_id", "state", "id"], name="task_safety_chunks"),
            models.Index(fields=["created_at", "id"], name="task_safety_newest"),
            IndexWhereNotSucceeded(fields=["state", "created_at", "id"], name="task_safety_unsettled"),
        )
        # Not unique=True, to which PostgreSQL gets a second index (for LIKE) that each worker's connection loads.
        constraints = (
            UniqueWhereSet(fields=["key_digest"], name="task_safety_key"),
            UniqueWhereSet(fields=["lock_slot"], name="task_safety_lock_slot"),
        )

    def __str__(self) -> str:
        return f"{self.task}({self.key}) {self.pk}: {self.state}"

    @property
    def is_pending(self) -> bool:
        """Whether it is still queued or running."""
        return self.state in self.PENDING

    @property
    def idempotency_key(self) -> str:
        """The same text in every attempt, to hand to other systems as their idempotency key.

        Newer work under the same key (``on_duplicate="replace"``, ``version``, a rerun of a success) has another one.
        """
        return f"{self.pk}-{self.generation}" if self.generation else str(self.pk)

    @property
    def lease_expires_at(self) -> datetime | None:
        """Until when the current attempt owns the operation; None when it is not running."""
        return self.due_at if self.state == self.State.RUNNING else None

    @property
    def overran(self) -> bool:
        """Whether its running attempt has had its time: a lease is renewed up to the deadline only."""
        return self.due_at is not None and self.deadline_at is not None and self.due_at >= self.deadline_at

    def has_expired(self, now: datetime) -> bool:
        """Whether it has not started by its ``expires``, if it is queued."""
        return self.attempt == 0 and self.expires_at is not None and self.expires_at <= now
