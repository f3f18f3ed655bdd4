"""Whether a task may die anywhere: it is made to, at one point after the other."""

import os
import pickle
import tempfile
import unittest
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kombu.message import Message

from django_task_safety.models import Operation
from django_task_safety.testing import fault_points, tables, throwaway
from django_task_safety.testing.crash_report import CrashReport, NotCrashSafe, Unsafe
from django_task_safety.testing.fault_points import FaultPoints, Journal, Point
from django_task_safety.testing.local_worker import LocalWorker
from django_task_safety.testing.outcome import Outcome, differences, mask_of
from django_task_safety.testing.subjects import CleanRunFailed, Subject, subject_of
from django_task_safety.testing.watching import Watch

#: Seconds that a clean run, and a recovery, may take.
LONGEST_RUN = 60.0
_NOT_FOLLOWED = "what it does is not followed, so that it cannot be told whether it is safe"
_NOT_THERE = (
    "another run does not come to this point, so that it cannot be told: take out what differs between its runs"
)


def assert_crash_safe(task: Any, *args: Any, **kwargs: Any) -> CrashReport:
    """Assert that the death of its process does no harm to a task, wherever it comes.

    The task runs twice on copies of the test's databases; what these runs differ in is not compared. Then it dies by
    SIGKILL at each of its points in turn: before and after statements, COMMITs, connections and what is sent on them,
    mails, messages, files opened for writing, and writes to caches. It is delivered again, as the broker or the sweeper
    would, and must leave what a clean run leaves. Nothing is changed in the test's own databases.

    Args:
        task: A safe task, a plain Celery task, one of Django's, or a callable.
        args: Its arguments.
        kwargs: Its arguments by name.

    Returns:
        The report.

    Raises:
        NotCrashSafe: With the report as ``report``.
        CleanRunFailed: If it fails, or does not end, without being harmed.
        InvalidArguments: If this is no test database, or not SQLite, or no task.
        unittest.SkipTest: Where processes cannot be forked.
    """
    if not hasattr(os, "fork"):
        raise unittest.SkipTest("assert_crash_safe needs os.fork(), which this system does not have.")
    tables.refuse_real_databases()
    subject = subject_of(task, args, kwargs)
    with tempfile.TemporaryDirectory() as directory:
        report = _Exploration(subject, Path(directory)).report()
    if report.unsafe:
        raise NotCrashSafe(report)
    return report


class _Exploration:
    def __init__(self, subject: Subject, directory: Path) -> None:
        self._subject, self._directory = subject, directory
        self._databases = throwaway.Databases(directory)
        self._runs = 0
        if not subject.has_operation:
            with LocalWorker() as worker:
                subject.request(worker)

    def report(self) -> CrashReport:
        (expected, journal), (second, _) = self._clean_run(), self._clean_run()
        mask = mask_of(expected, second)
        points = journal.read("point")
        unsafe = []
        for point in points:
            outcome = self._crash(point)
            found = tuple(differences(expected, outcome, mask)) if outcome else (_NOT_THERE,)
            if found:
                unsafe.append(Unsafe(point, found))
        unsafe += self._unfollowed(journal)
        return CrashReport(self._subject.name, tuple(points), tuple(unsafe), tuple(mask))

    def _unfollowed(self, journal: Journal) -> list[Unsafe]:
        """Return what is not safe because nobody knows."""
        found = dict.fromkeys((line, name) for name, line in journal.read("unfollowed"))
        return [Unsafe(Point(-1, f"{name} is started", line), (_NOT_FOLLOWED,)) for line, name in found]

    def _clean_run(self) -> tuple[Outcome, Journal]:
        place, journal = self._place()
        try:
            outcome, error = self._forked(place, lambda: self._run(place, journal, None))
        except throwaway.Unended as exc:
            outcome, error = None, str(exc)
        finally:
            _put_back(journal)
        if error:
            raise CleanRunFailed(f"{self._subject.name} fails without being harmed: {error}")
        return outcome, journal

    def _crash(self, point: Point) -> Outcome | None:
        """Return what is there after a death and what follows on it; None if the process did not come to the point."""
        place, journal = self._place()
        try:
            survivor, _ = self._forked(place, lambda: self._run(place, journal, point.number))
            if survivor:
                return None
            outcome, error = self._forked(place, lambda: self._recover(place, journal))
        except throwaway.Unended as exc:
            outcome, error = None, str(exc)
        finally:
            _put_back(journal)
        return outcome or Outcome({}, {}, [], error)

    def _place(self) -> tuple[Path, Journal]:
        self._runs += 1
        place = self._directory / str(self._runs)
        self._databases.copy(place)
        return place, Journal(place / "journal")

    def _forked(self, place: Path, work: Callable[[], Any]) -> tuple[Any, str]:
        result = place / "result"
        signal = throwaway.fork(work, result, LONGEST_RUN)
        if signal or not result.exists():
            return None, f"its process died of signal {signal}"
        outcome, error = pickle.loads(result.read_bytes())
        result.unlink()
        return outcome, error

    def _run(self, place: Path, journal: Journal, at: int | None) -> Outcome:
        """Run the task to its end, or to its death; in a process of its own."""
        self._databases.use(place)
        points = FaultPoints(self._subject.work, journal, at, self._directory)
        with Watch(points.observe) as watch, _Worker(points) as worker:
            if self._subject.has_operation:
                self._subject.request(worker)
                self._subject.run(worker)
            else:
                with points.counted():
                    self._subject.call()
                worker.drain()
        return self._outcome(watch, journal, "")

    def _recover(self, place: Path, journal: Journal) -> Outcome:
        """Do what follows on the death; in a process of its own."""
        self._databases.use(place)
        # Points are not counted any more, but effects and files are noted.
        points = FaultPoints(self._subject.work, journal, None, self._directory)
        ending = ""
        with Watch(points.observe) as watch, LocalWorker() as worker:
            # Under the watch, which so learns the keys.
            fault_points.replay_caches(journal.read("effect"))
            with points.noted():
                try:
                    self._subject.recover(worker)
                except Exception as exc:
                    ending = repr(exc)
        return self._outcome(watch, journal, ending)

    def _outcome(self, watch: Watch, journal: Journal, ending: str) -> Outcome:
        paths = {path for path, _ in journal.read("file")}
        files = {f"file {path}": fault_points.content(path) for path in paths}
        states = Counter(Operation.all_rows.filter(task=self._subject.name).values_list("state", flat=True))
        ending = ending or ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        return Outcome(tables.snapshot(), {**watch.cached(), **files}, journal.read("effect"), ending)


class _Worker(LocalWorker):
    """Counts the points of what it delivers."""

    def __init__(self, points: FaultPoints) -> None:
        super().__init__()
        self._points = points

    def _deliver(self, message: Message) -> None:
        with self._points.counted():
            super()._deliver(message)


def _put_back(journal: Journal) -> None:
    """Restore the files as they were before the run."""
    originals: dict[str, bytes | None] = {}
    for path, content in journal.read("file"):
        originals.setdefault(path, content)
    for path, original in originals.items():
        if original is not None:
            Path(path).write_bytes(original)
        else:
            Path(path).unlink(missing_ok=True)
    journal.close()
