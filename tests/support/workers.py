"""Real `celery worker` processes, each in a process group of its own, so that a test can kill all of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent


class Worker:
    """A worker process; use it as a context manager, and wait with `until`."""

    def __init__(self, *options: str, pool: str = "prefork", concurrency: int = 2, app: str = "tests", **env: str):
        self.command = [sys.executable, "-m", "celery", "-A", app, "worker", "-l", "INFO", "-P", pool]
        self.command += ["-c", str(concurrency), "--without-gossip", "--without-mingle", *options]
        self.env = {**os.environ, **env}
        self.process: subprocess.Popen[bytes] | None = None
        self.log = Path(os.environ.get("TASK_SAFETY_TEST_LOG", os.devnull))

    def start(self) -> "Worker":
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def signal(self, number: int) -> None:
        """Send a signal to the worker's whole process group."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """SIGKILL everything of the worker at once."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """Warm shutdown; SIGKILL where that takes too long."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=15)
        self.kill()

    def __enter__(self) -> "Worker":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def until(condition: Callable[[], Any], timeout: float = 30.0, pause: float = 0.05) -> Any:
    """Return the first truthy answer of the condition; fail when none comes in time."""
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(pause)


def quiet(count: Callable[[], int], seconds: float = 6.0) -> bool:
    """Return whether nothing is counted that was not there before, for so long."""
    before = count()
    try:
        until(lambda: count() > before, timeout=seconds)
    except AssertionError:
        return True
    return False


def left_running(temporary: Path) -> list[str]:
    """Return the command lines of the processes that know the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(temporary).encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # it has ended meanwhile, or belongs to somebody else
            continue
    return found
