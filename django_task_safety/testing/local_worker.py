"""A worker in the test's own process: the real protocol, without a broker and without waiting.

What is due is taken from the operations' table, since a message only says that somebody should look there. So it works
in a test whose transaction is never committed as well.
"""

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, Self

from celery.backends.cache import CacheBackend
from celery.concurrency.solo import TaskPool
from celery.worker.request import create_request_cls  # type: ignore[attr-defined]  # a gap of the stubs
from django.db.models import Min
from kombu.message import Message
from kombu.utils.imports import symbol_by_name

from django_task_safety import ledger, registry
from django_task_safety.conf import conf
from django_task_safety.ledger import table, time_travel, worker_id
from django_task_safety.models import Operation
from django_task_safety.options import TaskOptions
from django_task_safety.producer import outbox
from django_task_safety.record import State
from django_task_safety.testing.local_broker import LocalBroker
from django_task_safety.values.clock import Now, as_aware
from django_task_safety.worker import sweeper

#: So many steps `LocalWorker.drain` makes at most.
LONGEST_DRAIN = 1_000
#: The least by which the clock is moved on: a database may round.
_TICK = timedelta(milliseconds=10)


class LocalWorker:
    """What a test does with the operations that it asked for. As a context manager it is in place for the block."""

    def __init__(self) -> None:
        self._broker = LocalBroker()
        self._stack = ExitStack()
        #: So many hooks of the open transaction have been called, or were there before.
        self._called = 0
        #: The operations that were there before.
        self.before: set[Any] = set()
        self._delivered: list[Message] = []
        #: Where results are kept, by app.
        self._backends: dict[int, CacheBackend] = {}

    def __enter__(self) -> Self:
        self.before = set(Operation.all_rows.values_list("pk", flat=True))
        self._stack.enter_context(self._broker.in_place())
        for task in registry.safe_tasks():
            self._keep_results_here(task)
        self._called = len(self._hooks())
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    @property
    def enqueued(self) -> list[Operation]:
        """The operations that were asked for since it is in place, oldest first, whatever became of them."""
        return list(Operation.objects.exclude(pk__in=self.before).order_by("created_at", "id"))

    def run(self) -> list[Operation]:
        """Make one attempt of each operation that is due now, oldest first.

        What these ask for in their turn is left for the next time. Where the test's transaction is never committed, the
        hooks of ``transaction.on_commit()`` are called first.

        Returns:
            The operations as they are then.
        """
        return self._attempt(times=1)

    def deliver_twice(self) -> list[Operation]:
        """Deliver what is due two times, one after the other, as a broker does that lost an acknowledgement."""
        return self._attempt(times=2)

    def redeliver(self) -> None:
        """Deliver once more all that was delivered so far."""
        for message in tuple(self._delivered):
            self._deliver(message)

    def drain(self) -> list[Operation]:
        """Go on, over the waits of retries and schedules, until nothing is pending.

        Returns:
            The operations that were attempted, each once, as they are then.

        Raises:
            AssertionError: If something is still pending after 1,000 steps.
        """
        attempted: dict[Any, Operation] = {}
        for _ in range(LONGEST_DRAIN):
            ran = self.run()
            attempted.update((operation.pk, operation) for operation in ran)
            if ran:
                continue
            look = Operation.all_rows.pending().aggregate(next=Min("due_at"))["next"]
            if look is None:
                return self._as_they_are(list(attempted))
            self.travel(max(as_aware(look) - as_aware(table.now()), timedelta(0)) + _TICK)
            sweeper.sweep()
        pending = [str(one) for one in Operation.all_rows.pending()[:10]]
        raise AssertionError(f"still pending after {LONGEST_DRAIN} steps: {pending}")

    def lose_worker(self) -> list[Operation]:
        """Have a worker claim what is due, and die before its body does anything.

        Returns:
            The operations, which are running until `expire_leases` or enough time has passed.
        """
        claimed = []
        for operation in self._due():
            task = registry.task_of(operation)
            limits = worker_id.limits(task) if task else (conf().LEASE, None)
            ledger.claim(operation.pk, "lost@test", *limits, task=operation.task)
            claimed.append(operation.pk)
        return self._as_they_are(claimed)

    def expire_leases(self) -> None:
        """Let the leases of all that runs run out, and sweep, as a living worker does."""
        time_travel.end_leases()
        sweeper.sweep()

    def travel(self, seconds: float | timedelta) -> None:
        """Let time pass for all operations: their moments are so many seconds longer ago."""
        time_travel.pass_time(seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds))

    def _attempt(self, times: int) -> list[Operation]:
        self._call_commit_hooks()
        due = self._due()
        for operation in due:
            self._broker.take()
            outbox.publish_rows([operation])
            for message in self._broker.take():
                self._delivered.append(message)
                for _ in range(times):
                    self._deliver(message)
        return self._as_they_are([operation.pk for operation in due])

    def _due(self) -> list[Operation]:
        queued = Operation.all_rows.filter(state=State.QUEUED, available_at__lte=Now())
        return list(queued.order_by("available_at", "id"))

    def _as_they_are(self, pks: Sequence[Any]) -> list[Operation]:
        found = {operation.pk: operation for operation in Operation.all_rows.filter(pk__in=pks)}
        return [found[pk] for pk in pks if pk in found]

    def _deliver(self, message: Message) -> None:
        """Take a message as a worker of Celery's does, with its request, its pool and its tracer."""
        headers: dict[str, Any] = copy.deepcopy(message.headers)
        task: Any = registry.safe_task_named(headers["task"])
        app, pool = task.app, TaskPool(app=task.app)
        request_class = create_request_cls(symbol_by_name(task.Request), task, pool, "local@test", None, app=app)

        def ignore(*args: Any) -> None:
            """Nobody waits for the acknowledgement of a message that was taken for good."""

        request: Any = request_class(
            message, on_ack=ignore, on_reject=ignore, app=app, task=task, body=message.body, headers=headers
        )
        if not request.revoked():
            request.execute_using_pool(pool)

    def _keep_results_here(self, task: TaskOptions) -> None:
        """Results go to this process's memory: a project's store may not be there in a test."""
        celery_task: Any = task
        if id(task.app) not in self._backends:
            self._backends[id(task.app)] = CacheBackend(app=task.app, backend="memory")
        celery_task.backend = self._backends[id(task.app)]
        self._stack.callback(_use_own_backend, celery_task)

    def _call_commit_hooks(self) -> None:
        """Call what waits for the commit of the transaction in which the whole test runs."""
        while self._called < len(self._hooks()):
            _, hook, *_ = self._hooks()[self._called]
            self._called += 1
            hook()

    def _hooks(self) -> Sequence[Any]:
        db: Any = table.connection()
        return db.run_on_commit if db.in_atomic_block else ()


def _use_own_backend(task: Any) -> None:
    if vars(task).pop("backend", None) is None:
        task.backend = None  # Celery's property, which asks the app then
