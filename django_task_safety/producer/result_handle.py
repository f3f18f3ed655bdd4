"""The handles that safe tasks give: Celery's, but they do not wait for what cannot come."""

import uuid
from collections.abc import Iterator
from typing import Any

from celery.result import AsyncResult, GroupResult

from django_task_safety import ids
from django_task_safety.errors import NotCommitted


class OperationResult(AsyncResult):  # type: ignore[type-arg]
    """Celery's handle, for the outcome of an operation."""

    def get(self, *args: Any, **kwargs: Any) -> Any:
        """Wait for the outcome, as Celery's handles do. Raises `NotCommitted` inside the transaction that enqueued the
        operation, or the first one of its chain or chord, and has not committed yet."""
        if self._is_uncommitted() and not self.ready():
            raise NotCommitted(
                f"The operation {self.id} is enqueued in a transaction that is still open, so that no worker sees it, "
                "and waiting for its result would never end. Leave transaction.atomic() before you call get()."
            )
        return super().get(*args, **kwargs)

    wait = get

    @property
    def supports_native_join(self) -> bool:
        """Whether a group waits for all its members at once, as Celery's handles say it: not where `get` refuses to."""
        return bool(super().supports_native_join) and not self._is_uncommitted()

    def _is_uncommitted(self) -> bool:
        from django_task_safety.producer.uncommitted import uncommitted

        return uncommitted(set(_operations(self)))


def _operations(result: Any) -> Iterator[uuid.UUID]:
    """Yield the operations of a result and of all that it waits for: the steps before it, and the header of a chord."""
    while result is not None:
        if isinstance(result, GroupResult):
            for member in result.results or ():
                yield from _operations(member)
        else:
            yield ids.message_id(result.id)
        result = result.parent
