"""Processes are killed and paused, and their clocks go wrong."""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.chaos.faults.fault import Fault
from tests.chaos.world import QUICK, World
from tests.support.servers import descendants


class Kill(Fault):
    name = "kill"
    about = "SIGKILL of a worker with all its processes, and in turn of one process of its pool"
    settings = (
        ("embedded", "sqlite"),
        ("redis", "postgresql"),
        ("redis", "mariadb"),
        ("rabbitmq", "postgresql"),
        ("rabbitmq", "mariadb"),
    )
    calls = 2000
    times = 20
    pause = 0.03

    def __init__(self) -> None:
        self._whole = False

    def strike(self, world: World) -> None:
        self._whole = not self._whole
        number = world.random.randrange(len(world.workers))
        if self._whole:
            world.workers[number].kill()
            world.start_worker(number)
        elif children := sorted(descendants(world.pid_of(number))):
            with suppress(ProcessLookupError):
                os.kill(world.random.choice(children), signal.SIGKILL)


class Pause(Fault):
    name = "pause"
    about = "SIGSTOP of a worker with all its processes, beyond its leases and the visibility timeout, and SIGCONT"
    times = 3
    pause = 0.3

    def strike(self, world: World) -> None:
        worker = world.random.choice(world.workers)
        worker.signal(signal.SIGSTOP)
        time.sleep(2 * QUICK["LEASE"] + 1)
        worker.signal(signal.SIGCONT)


class Clock(Fault):
    """By libfaketime, in one of the two workers; its timers go on as they did."""

    name = "clock"
    about = "The clock of one of two workers is set an hour ahead, an hour back, and right again"
    times = 6
    pause = 0.3
    STEPS = ("+3600", "-3600", "+0")

    def __init__(self) -> None:
        self._next = 0

    def missing(self) -> str | None:
        return None if self._library() else "libfaketime is not installed"

    @staticmethod
    def _library() -> Path | None:
        return next(iter(sorted(Path(sys.prefix).glob("lib/**/libfaketimeMT.so.1"))), None) or next(
            iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None
        )

    def worker_env(self, world: World, number: int) -> dict[str, str]:
        if number:
            return {}
        file = world.folder / "clock"
        file.write_text("+0")
        return {
            "LD_PRELOAD": str(self._library()),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def strike(self, world: World) -> None:
        (world.folder / "clock").write_text(self.STEPS[self._next % len(self.STEPS)])
        self._next += 1
        time.sleep(3)
