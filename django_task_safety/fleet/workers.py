"""Which workers there are, what they listen to, and what they know."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cached_property

from django_task_safety.conf import conf
from django_task_safety.ledger import counts, table
from django_task_safety.values.clock import Now
from django_task_safety.worker_record import AbstractWorker, worker_model

#: Seconds between two times that a worker says it is there, at most.
SAYS_EVERY = 10.0
#: A worker that has not said so for this long counts as gone.
ALIVE_FOR = timedelta(seconds=45)
#: So many are read: the ones heard of last.
_LIMIT = 1000
#: Nobody sweeps where the last one was so many intervals ago, and a minute.
_INTERVALS = 3


@dataclasses.dataclass(frozen=True)
class Fleet:
    """All workers, as they were read at one moment of the database's time."""

    rows: list[AbstractWorker]
    now: datetime

    @classmethod
    def read(cls) -> Fleet:
        """Return the workers as they are now; one statement or two."""
        found = worker_model().objects.using(conf().DATABASE).annotate(_now=Now()).order_by("-last_seen")
        rows = list(found[:_LIMIT])
        return cls(rows, rows[0].__dict__["_now"] if rows else table.now())

    def is_alive(self, row: AbstractWorker) -> bool:
        """Return whether a worker was heard of lately."""
        return self.now - row.last_seen <= ALIVE_FOR

    @cached_property
    def workers(self) -> list[AbstractWorker]:
        """Those that take messages, or did, and not the commands that only sweep."""
        return [row for row in self.rows if row.pool]

    @cached_property
    def alive(self) -> list[AbstractWorker]:
        """Those of them that run."""
        return [row for row in self.workers if self.is_alive(row)]

    @cached_property
    def last_sweep(self) -> datetime | None:
        """When somebody swept last."""
        return max((row.last_sweep for row in self.rows if row.last_sweep), default=None)

    @property
    def is_swept(self) -> bool:
        """Whether somebody sweeps."""
        patience = timedelta(seconds=conf().SWEEP_INTERVAL * _INTERVALS + 60)
        return self.last_sweep is not None and self.now - self.last_sweep <= patience

    @cached_property
    def running(self) -> dict[str, int]:
        """How many operations each worker runs; one statement, when it is asked for."""
        return counts.running_by_worker()

    def named(self, identity: str) -> AbstractWorker | None:
        """Return the worker that the column ``worker`` of an operation names."""
        return next((row for row in self.workers if row.identity == identity), None)

    def listening(self, queue: str) -> list[AbstractWorker]:
        """Return the running workers that take messages from a queue; with "" all of them."""
        return [row for row in self.alive if not queue or queue in row.queues]

    def is_busy(self, workers: Iterable[AbstractWorker]) -> bool:
        """Return whether none of the workers has a free slot."""
        return all(self.running.get(row.identity, 0) >= row.concurrency for row in workers)


def knows(worker: AbstractWorker, task: str) -> bool:
    """Return whether a worker has a task, as far as it said."""
    return worker.tasks is None or task in worker.tasks
