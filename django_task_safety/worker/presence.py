"""What a worker says of itself: a row of its own, written every few seconds, and taken away when it stops."""

import dataclasses
import logging
import socket
import time
from typing import Any

from django.db import transaction
from django.utils import timezone

from django_task_safety.conf import conf
from django_task_safety.fleet.this_side import this_side
from django_task_safety.fleet.workers import SAYS_EVERY
from django_task_safety.ledger import table, worker_id
from django_task_safety.ledger.own_connections import own_connections
from django_task_safety.registry import safe_task_names
from django_task_safety.values import codec
from django_task_safety.values.clock import After, Now
from django_task_safety.worker import queues
from django_task_safety.worker_record import worker_model

logger = logging.getLogger("django_task_safety")

#: So many names of tasks are said.
_TASKS = 2000
#: Seconds after which the row of a worker that went without a word is taken away.
_FORGOTTEN_AFTER = 86_400.0
#: How a pool's module is called where Celery's option has another name.
_POOLS = {"thread": "threads"}


def workers() -> Any:
    """Return the rows of workers."""
    return worker_model().objects.using(conf().DATABASE)


class Presence:
    """One worker's row."""

    def __init__(self, consumer: Any) -> None:
        """
        Args:
            consumer: Celery's: of the worker that this is about.
        """
        self._consumer = consumer
        #: When this worker swept last (monotonic).
        self._swept: float | None = None
        self._tried = False

    def say(self) -> None:
        """Say that the worker is there: one statement, two the first time."""
        if not workers().filter(pk=worker_id.me()).update(**self._changing()):
            _insert(**self._changing(), **self._constant())
            _forget_the_dead()
            queues.forget_the_unused()

    def note_sweep(self) -> None:
        """Note that this worker has just swept."""
        self._swept = time.monotonic()

    def until_next(self) -> float:
        """Return the seconds until it is to be said again: none before the first time."""
        return min(SAYS_EVERY, conf().LEASE / 3) if self._tried else 0.0

    def leave(self) -> None:
        """Say that it stops; never raises."""
        try:
            with own_connections(), transaction.atomic(using=conf().DATABASE):
                own = workers().filter(pk=worker_id.me())
                # Who holds it does not keep the worker from stopping: it is as if it had gone without a word.
                if table.locked(own):
                    own.delete()
        except Exception as exc:
            logger.warning("the row of this worker could not be taken away: %s", codec.describe(exc))

    def look_around(self) -> None:
        """Say that the worker is there, and measure its queues."""
        self._tried = True
        self.say()
        queues.look_after(self._consumer.app, [name for name, queue in self._consumed() if not _is_own(queue)])

    def _consumed(self) -> list[tuple[str, Any]]:
        """Return name and queue of those from which the worker takes messages now."""
        return sorted(dict(self._consumer.app.amqp.queues.consume_from).items())

    def _changing(self) -> dict[str, Any]:
        said = {
            "queues": [name for name, _ in self._consumed()],
            "concurrency": self._consumer.pool.num_processes or 0,
            "last_seen": Now(),
            "clock": timezone.now(),
        }
        if self._swept is not None:
            said["last_sweep"] = After(self._swept - time.monotonic())
        return said

    def _constant(self) -> dict[str, Any]:
        names, side = safe_task_names(), this_side(self._consumer.app)
        return {
            "identity": worker_id.me(),
            "name": self._consumer.hostname[:255],
            "host": socket.gethostname()[:255],
            "pool": _pool_name(self._consumer.pool),
            "tasks": names if len(names) <= _TASKS else None,
            "started_at": Now(),
            **dataclasses.asdict(side),
        }


def _is_own(queue: Any) -> bool:
    """Return whether a queue goes with its worker, or its messages go to all workers."""
    return bool(queue.auto_delete or queue.exclusive or (queue.exchange and queue.exchange.type == "fanout"))


def _pool_name(pool: Any) -> str:
    module = type(pool).__module__.rpartition(".")[2]
    return _POOLS.get(module, module)[:255]


def note_sweep() -> None:
    """Note that a command swept, outside of workers: in one row for each host, which has no pool."""
    host, side = socket.gethostname()[:150], this_side()
    identity = f"sweep@{host}"
    if not workers().filter(pk=identity).update(last_seen=Now(), last_sweep=Now()):
        moments = dict.fromkeys(("started_at", "last_seen", "last_sweep"), Now())
        _insert(identity=identity, name=identity, host=host, **dataclasses.asdict(side), **moments)


def _insert(**values: Any) -> None:
    workers().bulk_create([worker_model()(**values)], ignore_conflicts=True)


def _forget_the_dead() -> None:
    workers().filter(last_seen__lt=After(-_FORGOTTEN_AFTER)).delete()
