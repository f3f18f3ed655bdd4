"""Processes that were forked for one thing each."""

import dataclasses
import os
import pickle
import random
import select
import signal
import tempfile
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Any

#: What is done in a process; it is given the slot in which it runs, from 0, which no other has meanwhile.
Work = Callable[[int], Any]


class Unanswered(Exception):
    """Why a process did not say what it was asked for."""


@dataclasses.dataclass(frozen=True)
class _Process:
    number: int
    slot: int
    pid: int
    #: Is at its end once the process is.
    end: int
    answer: IO[bytes]
    deadline: float

    def kill(self) -> int:
        """End it, and what it has forked, and return how it ended."""
        with suppress(OSError):  # they are gone
            os.killpg(self.pid, signal.SIGKILL)
        os.close(self.end)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def answered(self, seconds: float) -> Any:
        in_time = select.select([self.end], [], [], 0)[0]
        status = self.kill()
        with self.answer:
            self.answer.seek(0)
            if said := self.answer.read():
                return pickle.loads(said)
        if not in_time:
            return Unanswered(f"it has not ended after {seconds:.0f} seconds")
        return Unanswered(f"its process died of signal {-status}" if status < 0 else "its process has left")


def run(works: Sequence[Work], at_once: int, seconds: float) -> list[Any]:
    """Do each of the works in a process of its own, some of them at once.

    Returns:
        What each of them returns, in order; `Unanswered` where one raises, dies, or does not end after so many seconds.
    """
    waiting, free = deque(enumerate(works)), list(range(at_once))
    running: dict[int, _Process] = {}
    answers: dict[int, Any] = {}
    try:
        while waiting or running:
            while waiting and free:
                started = _start(*waiting.popleft(), free.pop(0), seconds)
                running[started.end] = started
            for process in _finished(running):
                answers[process.number] = process.answered(seconds)
                del running[process.end]
                free.append(process.slot)
    finally:
        for process in running.values():
            process.kill()
            process.answer.close()
    return [answers[number] for number in range(len(works))]


def fork(work: Callable[[], Any]) -> int:
    """Do something in another process, and return that process's id."""
    with warnings.catch_warnings():
        # The test may have threads; the work is one that has none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            # As between two workers, what is random is not the same in both.
            random.seed()
            work()
        finally:
            os._exit(0)
    return pid


def is_killed(pid: int) -> bool:
    """Wait for the end of a process, and return whether it was killed."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def _start(number: int, work: Work, slot: int, seconds: float) -> _Process:
    end, ended = os.pipe()
    answer = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed once it was read

    def answering() -> None:
        os.setpgid(0, 0)
        os.close(end)
        answer.write(_pickled(work, slot))
        answer.flush()

    pid = fork(answering)
    with suppress(OSError):  # it was faster
        os.setpgid(pid, pid)
    os.close(ended)
    return _Process(number, slot, pid, end, answer, time.monotonic() + seconds)


def _pickled(work: Work, slot: int) -> bytes:
    try:
        return pickle.dumps(work(slot))
    except BaseException as exc:
        return pickle.dumps(Unanswered("".join(traceback.format_exception_only(exc)).strip()))


def _finished(running: dict[int, _Process]) -> list[_Process]:
    """Wait until some processes have ended, or have had their time."""
    first = min(process.deadline for process in running.values())
    ready = select.select(list(running), [], [], max(0, first - time.monotonic()))[0]
    return [running[end] for end in ready] or [one for one in running.values() if one.deadline == first]
