"""Deliver messages as a worker does, in this process: Celery's own request, pool and tracer, and time made to pass."""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from celery import Celery, signals
from celery.concurrency.solo import TaskPool
from celery.worker.request import create_request_cls
from django.db import connection, transaction
from django.db.models import Min
from django.test.utils import CaptureQueriesContext
from kombu.message import Message
from kombu.utils.imports import symbol_by_name

from django_task_safety.ledger import time_travel
from django_task_safety.models import Operation
from django_task_safety.values.clock import as_aware
from django_task_safety.worker import sweeper
from tests.celery import app

T = TypeVar("T")

QUEUE = "celery"
#: The least that the clock is moved on for a message that waits: a database may round.
TICK = 0.01


@dataclasses.dataclass
class Delivery:
    """What became of one delivery."""

    id: str
    #: Celery's name for how the task's run ended (``SUCCESS``, ``IGNORED``, …); empty where it never ran.
    state: str = ""
    #: The return value, or the exception.
    value: Any = None
    acknowledged: bool = False
    rejected: bool = False
    requeued: bool = False


class LocalWorker:
    """A worker that takes one message at a time, when it is told to."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.pool = TaskPool(app=app)
        #: How far the tests' time is ahead, in seconds.
        self.ahead = 0.0
        self._taken: list[Message] = []
        self.take()

    def take(self) -> list[Message]:
        """Take all messages from the broker, in order."""
        self._fetch()
        taken, self._taken = self._taken, []
        return taken

    def _fetch(self) -> None:
        with self.app.connection_for_read() as broker:
            channel = broker.default_channel
            channel.queue_declare(QUEUE, durable=True, auto_delete=False)
            while message := channel.basic_get(QUEUE, no_ack=True):
                # What a message says of times was said when so much had been passed.
                message.delivery_info["ahead"] = self.ahead
                self._taken.append(message)

    def take_one(self) -> Message:
        """Take the only message there is."""
        (message,) = self.take()
        return message

    def deliver(self, message: Message) -> Delivery:
        """Deliver a message; more than once, if wanted: each time it is a fresh copy."""
        delivery = Delivery(message.headers["id"])
        headers = copy.deepcopy(message.headers)
        if headers.get("expires"):
            passed = timedelta(seconds=self.ahead - message.delivery_info["ahead"])
            headers["expires"] = (_moment(headers["expires"]) - passed).isoformat()

        def acknowledge(*args: Any) -> None:
            delivery.acknowledged = True

        def reject(logger: Any, errors: Any, requeue: bool) -> None:
            delivery.rejected, delivery.requeued = True, requeue

        def ended(task_id: str = "", state: str = "", retval: Any = None, **kwargs: Any) -> None:
            delivery.state, delivery.value = state, retval

        task = self.app.tasks[headers["task"]]
        request_class = create_request_cls(
            symbol_by_name(task.Request), task, self.pool, "local@tests", None, app=self.app
        )
        request = request_class(
            message, on_ack=acknowledge, on_reject=reject, app=self.app, task=task, body=message.body, headers=headers
        )
        # Not weakly: before Celery 5.7 a tracer loses sight of the receivers when one of them is collected.
        signals.task_postrun.connect(ended, sender=task, weak=False)
        try:
            if not request.revoked():
                request.execute_using_pool(self.pool)
        finally:
            signals.task_postrun.disconnect(ended, sender=task)
        return delivery

    def deliver_one(self) -> Delivery:
        """Take the only message there is, and deliver it."""
        return self.deliver(self.take_one())

    def drain(self, limit: int = 50) -> list[Delivery]:
        """Deliver messages, and those that come of them, until none is left; time passes where one has an ETA."""
        deliveries: list[Delivery] = []
        while messages := self.take():
            for message in messages:
                assert len(deliveries) < limit, f"still messages after {limit} deliveries: {message.headers}"
                self._wait_for(message)
                deliveries.append(self.deliver(message))
        return deliveries

    def finish(self, limit: int = 50) -> None:
        """Deliver, let time pass and sweep, until no operation is pending."""
        pending = Operation.all_rows.filter(state__in=Operation.PENDING)
        for _ in range(limit):
            self.drain(limit)
            look = pending.aggregate(next=Min("due_at"))["next"]
            if look is None:
                return
            self.pass_time(max(0.0, (as_aware(look) - datetime.now(UTC)).total_seconds()) + TICK)
            sweeper.sweep()
        raise AssertionError(f"still pending: {list(pending)}")

    def _wait_for(self, message: Message) -> None:
        if message.headers.get("eta"):
            wait = (_moment(message.headers["eta"]) - datetime.now(UTC)).total_seconds()
            wait -= self.ahead - message.delivery_info["ahead"]
            if wait > 0:
                self.pass_time(wait + TICK)

    def pass_time(self, seconds: float | timedelta) -> None:
        """Let time pass for all operations."""
        self._fetch()
        passed = seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)
        self.ahead += passed.total_seconds()
        time_travel.pass_time(passed)


def _moment(text: str | datetime) -> datetime:
    moment = datetime.fromisoformat(text) if isinstance(text, str) else text
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def local_worker() -> LocalWorker:
    """Return a worker for the tests' app, with nothing to do yet."""
    return LocalWorker(app)


class Statements(list[str]):
    """SQL statements other than those that begin and end transactions."""


@contextmanager
def statements() -> Iterator[Statements]:
    """Collect what is sent to the database during the block."""
    found = Statements()
    with CaptureQueriesContext(connection) as captured:
        yield found
    found.extend(query["sql"] for query in captured.captured_queries if not _controls(query["sql"].upper()))


def _controls(sql: str) -> bool:
    words = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "START TRANSACTION", "SET ")
    # MariaDB's SET STATEMENT … FOR precedes a statement proper.
    return sql.startswith(words) and not sql.startswith("SET STATEMENT")


def about_operations(found: Statements) -> list[str]:
    """Return those statements that touch the operations' table."""
    return [sql for sql in found if Operation._meta.db_table in sql]


@contextmanager
def undone() -> Iterator[None]:
    """Run the block in a transaction that is rolled back."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def elsewhere(work: Callable[[], T]) -> T:
    """Do something in another thread, which has a connection of its own to the database, and wait for it."""

    def run() -> T:
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result(timeout=60)
