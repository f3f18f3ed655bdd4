"""The example's demonstration, as a user starts it."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.support.workers import ROOT

COMMAND = [sys.executable, str(ROOT / "example" / "manage.py"), "demo"]
#: Seconds that it may take to start, and to stop.
STARTING, STOPPING = 60, 15


class Demo:
    """A running ``manage.py demo``; what it writes is in ``folder``, by which its processes are known."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TASK_SAFETY")}
        environment["TMPDIR"] = str(folder)
        self._process = subprocess.Popen(
            [*COMMAND, *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def __enter__(self) -> "Demo":
        self.output, self.address = "", ""
        for line in self._process.stdout or ():
            self.output += line
            if found := re.search(r"Click it: (\S+)", line):
                self.address = found[1]
            if line.startswith("Ctrl-C"):
                return self
        raise AssertionError(f"the demonstration did not start:\n{self.output}")

    @property
    def home(self) -> Path:
        """Where the database, the logs and the process ids are."""
        [home] = self.folder.glob("task-safety-demo-*")
        return home

    @property
    def worker(self) -> str:
        """The process id of the worker that runs, or ran last."""
        return (self.home / "worker.pid").read_text()

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal, and return the exit code."""
        self._process.send_signal(number)
        self.output += self._process.communicate(timeout=STOPPING)[0]
        return self._process.returncode

    def __exit__(self, *exc: object) -> None:
        with suppress(ProcessLookupError):
            if self._process.poll() is None:
                self.end()
