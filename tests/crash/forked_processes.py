"""The tests' side of the fork server."""

import dataclasses
import json
import signal
import subprocess
import sys
from typing import Any, Self

from tests.support.workers import ROOT


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one process."""

    signal: int = 0
    pid: int = 0
    value: Any = None
    points: list[str] = dataclasses.field(default_factory=list)
    error: str = ""

    @property
    def died(self) -> bool:
        return self.signal == signal.SIGKILL


@dataclasses.dataclass(frozen=True)
class Paused:
    """Where a process waits."""

    point: str
    in_transaction: bool


class ForkedProcesses:
    """Starts processes that do something of `tests.crash.scenario_steps`, and are killed or paused at a point."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.crash.fork_server"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.communicate()

    def run(self, step: str, details: dict[str, Any], die_at: int | str | None = None) -> Outcome:
        """Run one process to its end, which comes early at ``die_at``."""
        self._command(step, [details], die_at, "die")
        outcome = self.finish()
        assert outcome.died == (die_at is not None), f"{step} did not come to point {die_at}"
        return outcome

    def run_together(self, step: str, details: list[dict[str, Any]]) -> list[Outcome]:
        """Run one process for each set of details, all at once."""
        self._command(step, details, None, "die")
        return self._outcomes(self._line())

    def pause(self, step: str, details: dict[str, Any], at: int | str) -> Paused:
        """Run one process up to a point."""
        self._command(step, [details], at, "pause")
        line = self._line()
        assert "paused" in line, f"{step} did not come to point {at}: {line}"
        return Paused(line["paused"], line["in_transaction"])

    def resume(self) -> Outcome:
        """Let the paused process go on to its end."""
        self._write("go")
        return self.finish()

    def finish(self) -> Outcome:
        (outcome,) = self._outcomes(self._line())
        return outcome

    def _outcomes(self, line: dict[str, Any]) -> list[Outcome]:
        outcomes = [Outcome(**outcome) for outcome in line["outcomes"]]
        errors = [outcome.error for outcome in outcomes if outcome.error]
        assert not errors, "\n".join(errors)
        return outcomes

    def _command(self, step: str, details: list[dict[str, Any]], at: int | str | None, event: str) -> None:
        self._write(json.dumps({"step": step, "details": details, "at": at, "event": event}))

    def _write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the fork server has ended"
        return json.loads(line)
