"""The tests' side of a victim."""

import dataclasses
import json
import signal
import subprocess
import sys
from typing import Any, Self

from tests.support.workers import ROOT


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one victim."""

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
    """Where a victim waits."""

    point: str
    in_transaction: bool


class Victims:
    """Starts processes that do something of `tests.crash.scenario_steps`, and are killed or paused at a point."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.crash.victim"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.communicate()

    def run(self, act: str, details: dict[str, Any], die_at: int | str | None = None) -> Outcome:
        """Run one victim to its end, which comes early at ``die_at``."""
        self._order(act, [details], die_at, "die")
        outcome = self.finish()
        assert outcome.died == (die_at is not None), f"{act} did not come to point {die_at}"
        return outcome

    def race(self, act: str, details: list[dict[str, Any]]) -> list[Outcome]:
        """Run one victim for each set of details, all at once."""
        self._order(act, details, None, "die")
        return self._outcomes(self._line())

    def pause(self, act: str, details: dict[str, Any], at: int | str) -> Paused:
        """Run one victim up to a point."""
        self._order(act, [details], at, "pause")
        line = self._line()
        assert "paused" in line, f"{act} did not come to point {at}: {line}"
        return Paused(line["paused"], line["in_transaction"])

    def resume(self) -> Outcome:
        """Let the paused victim go on to its end."""
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

    def _order(self, act: str, details: list[dict[str, Any]], at: int | str | None, event: str) -> None:
        self._write(json.dumps({"act": act, "details": details, "at": at, "event": event}))

    def _write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the process that victims are forked from has ended"
        return json.loads(line)
