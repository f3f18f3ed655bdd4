"""Whether a task may die anywhere: it is made to, at one point after the other."""

import functools
import os
import tempfile
import time
import unittest
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from django_task_safety.testing import processes, tables
from django_task_safety.testing.crash_report import CrashReport, NotCrashSafe, Unsafe
from django_task_safety.testing.databases import Databases
from django_task_safety.testing.journal import Journal, Point
from django_task_safety.testing.local_worker import LocalWorker
from django_task_safety.testing.outcome import Mask, Outcome, differences
from django_task_safety.testing.processes import Unanswered
from django_task_safety.testing.subjects import CleanRunFailed, Subject, subject_of
from django_task_safety.testing.trial import Trial

#: Seconds that a clean run may take.
LONGEST_RUN = 60.0
#: What a death and the recovery from it may take: so many times what a clean run took, and seconds besides.
_TIMES_LONGER, _BESIDES = 10, 30.0
#: Each takes copies of the databases.
_MOST_AT_ONCE = 8
#: Seconds after which a clock shows another one.
_NEXT_SECOND = 1.1
_NOT_FOLLOWED = (
    "what it does is not followed, so that it cannot be told whether it is safe: do it in this thread and over "
    "Django's connections, or put something else in its place for this test"
)
_NOT_THERE = (
    "another run does not come to this point, so that it cannot be told: take out what differs between its runs"
)


def assert_crash_safe(task: Any, *args: Any, **kwargs: Any) -> CrashReport:
    """Assert that the death of its process does no harm to a task, wherever it comes.

    The task runs twice on copies of the test's databases; what these runs differ in is not compared. Then it dies by
    SIGKILL at each of its points in turn: before and after statements, COMMITs, connections and what is sent on them,
    mails, messages, files opened for writing, and writes to caches. Points between which nothing is done that outlives
    the process are tried once. It is delivered again, as the broker or the sweeper would, and must leave what a clean
    run leaves. Nothing is changed in the test's own databases.

    Args:
        task: A safe task, a plain Celery task, one of Django's, or a callable.
        args: Its arguments.
        kwargs: Its arguments by name.

    Returns:
        The report.

    Raises:
        NotCrashSafe: With the report as ``report``.
        CleanRunFailed: If it fails, or does not end, without being harmed.
        InvalidArguments: If this is no test database, or one that cannot be copied, or no task.
        unittest.SkipTest: Where processes cannot be forked.
    """
    if not hasattr(os, "fork"):
        raise unittest.SkipTest("assert_crash_safe needs os.fork(), which this system does not have.")
    tables.refuse_real_databases()
    subject = subject_of(task, args, kwargs)
    with tempfile.TemporaryDirectory() as directory, Databases(Path(directory)) as databases:
        report = _Exploration(subject, databases, Path(directory)).report()
    if report.unsafe:
        raise NotCrashSafe(report)
    return report


class _Exploration:
    def __init__(self, subject: Subject, databases: Databases, directory: Path) -> None:
        self._subject, self._databases, self._directory = subject, databases, directory
        self._runs = 0
        #: Of the first clean run.
        self._known: Journal | None = None
        if not subject.has_operation:
            with LocalWorker() as worker:
                subject.request(worker)

    def report(self) -> CrashReport:
        start = time.monotonic()
        expected, journal = self._clean_run()
        self._longest, self._known = _BESIDES + _TIMES_LONGER * (time.monotonic() - start), journal
        second, _ = self._clean_run(varied=True)
        self._refuse_chance(expected, second)
        points = journal.read("point")
        alike = [list(group) for _, group in groupby(points, lambda point: point.state)]
        # Files are not copied, so that two runs which write them would disturb each other.
        at_once = 1 if journal.read("file") else min(os.cpu_count() or 1, _MOST_AT_ONCE)
        outcomes = self._crashes([group[0] for group in alike], at_once)
        retried = _before_the_body(alike, outcomes) if self._subject.has_operation else None
        mask = Mask(expected, second, retried=retried)
        if any(_found(expected, outcome, mask) for outcome in outcomes):
            # Clocks that show seconds are found out by a run that is in another one.
            time.sleep(max(0, start + _NEXT_SECOND - time.monotonic()))
            mask = Mask(expected, second, self._clean_run(varied=True)[0], retried)
        unsafe = []
        for group, outcome in zip(alike, outcomes, strict=True):
            if found := _found(expected, outcome, mask):
                unsafe += [Unsafe(point, found) for point in group]
        unsafe += [Unsafe(point, (_NOT_FOLLOWED,)) for point in _unfollowed(journal)]
        # Points of the claim, and what comes after the body, are at the line of the body's decorator.
        decorated = points[0].line if self._subject.has_operation else ""
        unsafe.sort(key=lambda one: (one.point.line == decorated, one.point.number))
        return CrashReport(self._subject.name, tuple(points), tuple(unsafe), tuple(mask), self._subject.note)

    def _clean_run(self, varied: bool = False) -> tuple[Outcome, Journal]:
        trial = self._trial()
        try:
            (outcome,) = processes.run([functools.partial(trial.clean, varied=varied)], 1, LONGEST_RUN)
        finally:
            trial.put_back_files()
        if isinstance(outcome, Unanswered):
            copied = ", ".join(self._databases.aliases)
            raise CleanRunFailed(
                f"{self._subject.name} fails without being harmed: {outcome}. It ran in a process of its own, on "
                f"copies of {copied}: make what it needs there before."
            )
        return outcome, trial.journal

    def _refuse_chance(self, expected: Outcome, second: Outcome) -> None:
        if found := list(differences(expected, second, Mask(expected, second))):
            raise CleanRunFailed(
                "\n  ".join(
                    [f"Two clean runs of {self._subject.name} differ in more than values; make them alike:", *found]
                )
            )

    def _crashes(self, points: list[Point], at_once: int) -> list[Outcome | Unanswered | None]:
        """Return what is there after a death at each of the points, and what follows on it."""
        trials = [self._trial() for _ in points]
        works = [functools.partial(trial.crash, at=point.number) for trial, point in zip(trials, points, strict=True)]
        try:
            return processes.run(works, at_once, self._longest)
        finally:
            for trial in reversed(trials):  # of those that were killed
                trial.put_back_files()

    def _trial(self) -> Trial:
        self._runs += 1
        journal = Journal(self._directory / f"journal-{self._runs}")
        return Trial(self._subject, self._databases, journal, self._directory, self._known)


def _found(expected: Outcome, outcome: Outcome | Unanswered | None, mask: Mask) -> tuple[str, ...]:
    """Return what is wrong after a death."""
    if isinstance(outcome, Outcome):
        return tuple(differences(expected, outcome, mask))
    return (f"what follows on the death is not known: {outcome}" if outcome else _NOT_THERE,)


def _before_the_body(alike: list[list[Point]], outcomes: list[Any]) -> Outcome | None:
    """Return what follows on a death before the body has done anything, if there was one."""
    decorated = alike[0][0].line
    for group, outcome in zip(alike, outcomes, strict=True):
        if any(point.line != decorated for point in group):
            return outcome if isinstance(outcome, Outcome) and group[0].line == decorated else None
    return None


def _unfollowed(journal: Journal) -> Iterable[Point]:
    """Return what is not safe because nobody knows, each once."""
    return {(point.line, point.name): point for point in reversed(journal.read("unfollowed"))}.values()
