"""What a message says of itself."""

import contextlib
import dataclasses
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Self

from django_task_safety.conf import conf
from django_task_safety.ids import message_id, uuid_of
from django_task_safety.ledger.statements import columns
from django_task_safety.options import TaskOptions
from django_task_safety.producer import canvas, header
from django_task_safety.record import AbstractOperation, State, read_operation


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """A delivery, as Celery's request shows it."""

    id: uuid.UUID
    args: Any
    kwargs: Any
    #: The operation that our own publishing named; None for a message of beat, ``send_task`` or another language.
    operation_id: uuid.UUID | None
    header: dict[str, Any]
    #: Whether it is as it was published for that operation.
    genuine: bool

    @classmethod
    def of(cls, request: Any, args: Any, kwargs: Any) -> Self:
        """Read the message from Celery's request."""
        found = getattr(request, header.HEADER, None) or (request.headers or {}).get(header.HEADER)
        said = dict(found) if isinstance(found, Mapping) else {}
        genuine = request.is_eager or header.is_genuine(said, request.args, request.kwargs)
        return cls(message_id(request.id), args, kwargs, uuid_of(said.get("op")), said, genuine)

    def carries_arguments_of(self, operation: AbstractOperation) -> bool:
        """Return whether its arguments are the operation's, as far as it proves that."""
        return self.genuine and self.header.get("rev", 0) == operation.revision

    def hint(self, task: TaskOptions) -> AbstractOperation | None:
        """Return the row as it was when the message was published, the rest deferred; None if it does not prove it."""
        if self.operation_id is None or "att" not in self.header or not self.genuine:
            return None
        known = {
            **{"id": self.operation_id, "task": task.name, "state": State.QUEUED, "key": self.header.get("key", "")},
            **{"attempt": self.header.get("att", 0), "revision": self.header.get("rev", 0)},
            **{"waits_for": uuid_of(self.header.get("waits_for")), "generation": self.header.get("gen", 0)},
            **{"version": self.header.get("ver"), "max_attempts": self.header.get("max")},
            **{"requested_by": self.header.get("by", ""), "parent_id": uuid_of(self.header.get("parent_id"))},
        }
        names = [field.attname for field in columns() if field.attname in known]
        return read_operation(conf().DATABASE, names, [known[name] for name in names])

    def calling_options(self, request: Any) -> dict[str, Any]:
        """Return the options of a call that would have sent it."""
        task_id = request.id if uuid_of(request.id) else self.id
        said = {"expires": _moment(request.expires), "task_id": task_id}
        return {**canvas.waiting(request), **said, **canvas.routing(request)}


def _moment(said: Any) -> Any:
    """Return a time in a message as an aware datetime, as Celery reads it: what says no zone is UTC."""
    with contextlib.suppress(ValueError):
        said = datetime.fromisoformat(said) if isinstance(said, str) else said
    return said.replace(tzinfo=UTC) if isinstance(said, datetime) and said.tzinfo is None else said
