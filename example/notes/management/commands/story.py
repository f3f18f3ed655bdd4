import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from notes.story import report
from notes.story.progress import Bar

ACTS = {"plain": "plain Celery", "safe": "django-task-safety"}


class Command(BaseCommand):
    help = "The same work with the same troubles, on plain Celery and on django-task-safety: what went wrong?"
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--keep", action="store_true", help="keep the databases and logs, and say where they are")

    def handle(self, *args: object, keep: bool, **options: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.interrupt)
        started = time.monotonic()
        home = Path(tempfile.mkdtemp(prefix="task-safety-story-"))
        try:
            code, text = self.tell(home)
        except KeyboardInterrupt:
            code, text = 130, "Interrupted"
        finally:
            if keep:
                self.stderr.write(f"Databases and logs: {home}")
            else:
                shutil.rmtree(home, ignore_errors=True)
        self.stdout.write(f"{text} ({time.monotonic() - started:.0f} s)")
        sys.exit(code)

    def interrupt(self, number: int, frame: object) -> None:
        """Clean up, undisturbed by a second Ctrl-C."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    def tell(self, home: Path) -> tuple[int, str]:
        bar = Bar(sys.stderr)
        try:
            results = [self.play(home, bar, number, side) for number, side in enumerate(ACTS)]
        finally:
            bar.clear()
        plain, safe = (result["tallies"] for result in results)
        self.stdout.write(report.table(results[0]["inputs"], plain, safe))
        return report.conclusion(plain, safe)

    def play(self, home: Path, bar: Bar, number: int, side: str) -> dict[str, Any]:
        """Run one act in a process of its own, with databases and a broker of its own; return its result."""
        environment = {**os.environ, "EXAMPLE_HOME": str(home / side)}
        command = [sys.executable, str(settings.BASE / "manage.py"), "act", side]
        said: dict[str, Any] = {}
        with (home / f"{side}.log").open("w+") as log:
            act = subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
            try:
                for line in act.stdout or ():
                    said = json.loads(line)
                    if "text" in said:
                        bar.show((number + said["fraction"]) / len(ACTS), f"{ACTS[side]}: {said['text']}")
            finally:
                # It takes its workers with it.
                act.terminate()
                act.wait()
            if "tallies" not in said:
                log.seek(0)
                raise CommandError(f"The act on {ACTS[side]} broke off:\n{log.read()}", returncode=3)
        return said
