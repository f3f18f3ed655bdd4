"""A process that others are forked from, to be killed or paused: `python -m tests.crash.fork_server`.

It reads commands from its standard input and writes what became of them to its standard output, a line of JSON each.
"""

import json
import os
import signal
import sys
import traceback
from typing import Any, NoReturn

import django

import tests  # noqa: F401 - the Celery app

OUT = 1


def write_line(fd: int, **values: Any) -> None:
    os.write(fd, json.dumps(values).encode() + b"\n")


def die(name: str, in_transaction: bool) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def pause(name: str, in_transaction: bool) -> None:
    write_line(OUT, paused=name, in_transaction=in_transaction)
    os.read(0, 100)


def run_step(command: dict[str, Any], details: dict[str, Any], report: int, ready: int, start: int) -> NoReturn:
    """Run one step in a process that was forked for it, and leave."""
    from django.db import connection

    from tests.crash import scenario_steps
    from tests.crash.fault_points import FaultPoints

    outcome: dict[str, Any] = {"pid": os.getpid()}
    try:
        fault_points = FaultPoints(connection, command["at"], {"die": die, "pause": pause}[command["event"]])
        os.write(ready, b".")
        os.read(start, 1)
        outcome["value"] = getattr(scenario_steps, command["step"])(**details)
        fault_points.reach("at the end")
        outcome["points"] = fault_points.points
    except BaseException:
        outcome["error"] = traceback.format_exc()
    write_line(report, **outcome)
    connection.close()
    os._exit(0)


def run_together(command: dict[str, Any]) -> None:
    """Fork one process for each set of details, let all begin at once, and write what became of them."""
    (reports, report), (readies, ready), (start, go) = os.pipe(), os.pipe(), os.pipe()
    pids = []
    for details in command["details"]:
        pid = os.fork()
        if pid == 0:
            os.close(go)
            run_step(command, details, report, ready, start)
        pids.append(pid)
    for fd in (report, ready, start):
        os.close(fd)
    for _ in pids:
        os.read(readies, 1)
    os.close(go)
    with os.fdopen(reports) as lines:
        reported = {outcome["pid"]: outcome for outcome in map(json.loads, lines)}
    os.close(readies)
    signals = {pid: os.WTERMSIG(status) for pid, status in (os.waitpid(pid, 0) for pid in pids)}
    write_line(OUT, outcomes=[{**reported.get(pid, {}), "signal": signals[pid]} for pid in pids])


def main() -> None:
    django.setup()
    from tests.crash import scenario_steps, tasks  # noqa: F401 - before the forks, which then need not

    while line := sys.stdin.readline():
        run_together(json.loads(line))


if __name__ == "__main__":
    main()
