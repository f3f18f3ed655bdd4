"""One run of the work, which may die on its way, and what follows on that; each in a process of its own."""

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from kombu.message import Message

from django_task_safety.models import Operation
from django_task_safety.testing import caching, files, local_broker, processes, tables
from django_task_safety.testing.databases import Databases
from django_task_safety.testing.fault_points import FaultPoints
from django_task_safety.testing.journal import Journal
from django_task_safety.testing.local_worker import LocalWorker
from django_task_safety.testing.outcome import Outcome
from django_task_safety.testing.subjects import Subject
from django_task_safety.testing.tables import Row
from django_task_safety.testing.watching import Watch


class Trial:
    """A run of the work on copies of the databases.

    Args:
        subject: The work.
        databases: What is copied.
        journal: Where is written down what happens.
        ours: A directory whose files are none of the work's.
        known: What another run has done: files and what is cached are looked for there as well.
    """

    def __init__(
        self, subject: Subject, databases: Databases, journal: Journal, ours: Path, known: Journal | None
    ) -> None:
        self._subject, self._databases, self.journal, self._ours = subject, databases, journal, ours
        self._known = known

    def clean(self, slot: int, *, varied: bool = False) -> Outcome:
        """Run the work to its end; with ``varied`` its rows get other keys."""
        self._databases.renew(slot)
        self._use(slot)
        if varied:
            self._databases.advance_sequences()
        self._run(None)
        return self._outcome("")

    def crash(self, slot: int, at: int) -> Outcome | None:
        """Run the work to the point of that number, where it dies, and do what follows on that.

        Returns:
            What is there then; None if the work did not come to the point.
        """
        self._databases.renew(slot)

        def die() -> None:
            self._use(slot)
            self._run(at)

        try:
            if not processes.is_killed(processes.fork(die)):
                return None
            self._use(slot)
            return self._recover()
        finally:
            self.put_back_files()

    def put_back_files(self) -> None:
        """Restore the files as they were before the run, and remove what was for the time being."""
        files.put_back([*self.journal.read("file"), *((path, None) for path in self.journal.read("temporary"))])

    def _use(self, slot: int) -> None:
        self._databases.use(slot)
        caching.isolate(f"{self.journal.name}-{slot}:")
        local_broker.keep_messages_here()
        # That an operation is lost and found is what is tried.
        logging.getLogger("django_task_safety").setLevel(logging.CRITICAL + 1)

    def _run(self, at: int | None) -> None:
        points = FaultPoints(self._subject.work, self.journal, at, self._ours)
        with Watch(points.observe, self._subject.work), _Worker(self._subject.name, points) as worker:
            if self._subject.has_operation:
                self._subject.request(worker)
                self._subject.run(worker)
            else:
                with points.counted():
                    self._subject.call()
                worker.drain()

    def _recover(self) -> Outcome:
        # Points are not counted any more, but effects and files are noted.
        left = self._paths(self.journal) - self._paths(self._known)
        points = FaultPoints(self._subject.work, self.journal, None, self._ours)
        caching.replay(self.journal.read("effect"))
        ending = ""
        with Watch(points.observe, self._subject.work), LocalWorker() as worker, points.noted():
            try:
                self._subject.recover(worker)
            except Exception as exc:
                ending = repr(exc)
        return self._outcome(ending, left)

    def _outcome(self, ending: str, left: Collection[str] = ()) -> Outcome:
        rows = tables.snapshot()
        journals = [self.journal, *filter(None, [self._known])]
        paths = self._paths(*journals)
        rows["file"] = _rows({(path,): files.unzipped(files.content(path)) for path in sorted(paths)})
        effects = self.journal.read("effect")
        keys = caching.keys_of(effect for journal in journals for effect in journal.read("effect"))
        rows["cache"] = _rows(caching.values(keys) | caching.cleared(effects))
        caching.remove(keys)
        states = Counter(Operation.all_rows.filter(task=self._subject.name).values_list("state", flat=True))
        ending = ending or ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        return Outcome(rows, effects, ending, frozenset(left))

    @staticmethod
    def _paths(*journals: Journal | None) -> set[str]:
        return {path for journal in filter(None, journals) for path, _ in journal.read("file")}


class _Worker(LocalWorker):
    """Counts the points of one task."""

    def __init__(self, name: str, points: FaultPoints) -> None:
        super().__init__()
        self._name, self._points = name, points

    def _deliver(self, message: Message) -> None:
        # What it asks for in its turn is another piece of work.
        own = message.headers["task"] == self._name
        with self._points.counted() if own else self._points.noted():
            super()._deliver(message)


def _rows(found: Mapping[tuple[Any, ...], Any]) -> dict[tuple[Any, ...], Row]:
    """Return what is there as rows."""
    return {key: {"name": "/".join(map(str, key)), "value": value} for key, value in found.items() if value is not None}
