"""The demonstration's processes: each is a process group, and ends with the one that started it."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from django.conf import settings

WORKER = ["celery", "-A", "shop", "worker", "-c", "4", "-P", "prefork", "-l", "INFO"]
WORKER += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
#: How much slower all is than in the story, so that one can watch it.
PACE = "4"
#: Seconds that a process gets to end by itself.
GRACE = 3


class Child:
    """A Python module that runs in the folder ``home``, and writes its log there."""

    def __init__(self, name: str, command: list[str], home: Path, inherits: tuple[int, ...] = ()) -> None:
        self.log, self._pid = home / f"{name}.log", home / f"{name}.pid"
        self._inherits = inherits
        self._command = [sys.executable, "-m", "demo.child", *command]
        # Temporary files too: nobody tidies up after a process that is killed.
        self._environment = {"EXAMPLE_PACE": PACE, **os.environ, "EXAMPLE_HOME": str(home), "TMPDIR": str(home)}

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=settings.BASE,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=self._inherits,
            )
        self._pid.write_text(str(self._process.pid))

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self) -> int:
        """Return its exit code."""
        return self._process.wait()

    def end(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """Wait a moment for its end, then SIGKILL it and all that belongs to it."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def kill(name: str) -> bool:
    """SIGKILL a child and all that belongs to it, from another process; return whether there was one."""
    try:
        os.killpg(int((settings.HOME / f"{name}.pid").read_text()), signal.SIGKILL)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


def is_alive(name: str) -> bool:
    try:
        os.killpg(int((settings.HOME / f"{name}.pid").read_text()), 0)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True
