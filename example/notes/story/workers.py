"""Real worker processes, each a process group of its own, so that all of it can be killed at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from django.conf import settings

COMMAND = [sys.executable, "-m", "celery", "-A", "shop", "worker", "-c", "2", "-P", "prefork", "-l", "INFO"]
COMMAND += ["--without-gossip", "--without-mingle", "--without-heartbeat"]


class Worker:
    """``celery worker``; as a context manager, killed at the end of the block.

    Raises:
        RuntimeError: If it ended by itself: then what was counted says nothing.
    """

    _killed = False

    def __enter__(self) -> "Worker":
        # Temporary files too: nobody tidies up after a process that is killed.
        environment = {**os.environ, "EXAMPLE_HOME": str(settings.HOME), "TMPDIR": str(settings.HOME)}
        with (settings.HOME / "worker.log").open("ab") as log:
            self._process = subprocess.Popen(
                COMMAND, cwd=settings.BASE, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def kill(self) -> None:
        """SIGKILL the worker and its pool."""
        if not self._killed and self._process.poll() is not None:
            raise RuntimeError(f"The worker ended by itself:\n{(settings.HOME / 'worker.log').read_text()[-2000:]}")
        self._killed = True
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __exit__(self, *exc: object) -> None:
        self.kill()


def until(condition: Callable[[], bool], timeout: float = 20.0, tick: Callable[[], None] = lambda: None) -> bool:
    """Wait until the condition holds; return whether it came to that in time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        tick()
        time.sleep(0.05)
    return True
