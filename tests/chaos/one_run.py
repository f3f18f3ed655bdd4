"""One run, in a process of its own: calls are made and run while a fault strikes, all is drained, and then counted.

``python -m tests.chaos.one_run FILE`` reads the run, as JSON, and writes the counts to the file.
"""

import dataclasses
import json
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import StringIO
from pathlib import Path

import redis
from celery import Task, current_app
from django.core.management import call_command
from django.db import close_old_connections, connection

from tests.chaos.faults import FAULTS, Fault
from tests.chaos.figures import OURS
from tests.chaos.ledger import Counted, Run, count
from tests.chaos.setting import setting
from tests.chaos.world import World
from tests.support.servers import Redis, wait_until

#: Calls that wait for a worker, at most, so that a fault meets running tasks and calls alike.
BACKLOG = 40
#: Seconds without a new attempt after which nothing comes any more: more than any message or retry waits.
QUIET = 8.0
#: Seconds without a new attempt, after which a fault strikes nevertheless.
STALLED = 10.0
#: Seconds that draining may take while nothing comes; what is pending then is lost.
PATIENCE = 180.0


def main(file: str) -> None:
    # So that being terminated still stops the servers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run = Run(**json.load(sys.stdin))
    with tempfile.TemporaryDirectory() as folder:
        Path(file).write_text(json.dumps(dataclasses.asdict(measure(run, Path(folder)))))


def measure(run: Run, folder: Path) -> Counted:
    """Make the run, and return what was counted."""
    start = time.monotonic()
    fault = FAULTS[run.fault]()
    with setting(run, fault, folder) as world:
        from tests.chaos.variants import VARIANTS  # now that Django is set up

        task = VARIANTS[run.variant]
        assert task is not None
        acknowledged, times = work(world, fault, task)
        drain(world, ours=run.variant == OURS)
        counted = count(run.calls, acknowledged, traces(), begun=begun(world), times=times)
    return dataclasses.replace(counted, seconds=round(time.monotonic() - start, 1))


def begun(world: World) -> int:
    """Return how many attempts began."""
    from tests.chaos.variants import LINE

    return (world.folder / "begun").stat().st_size // LINE


def work(world: World, fault: Fault, task: Task) -> tuple[set[str], int]:
    """Make all calls while the fault strikes; return the acknowledged keys, and how often it struck."""
    acknowledged: set[str] = set()
    # Fewer where there is little to strike.
    times = min(fault.times, world.run.calls // 15)
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(publish, world, fault, task, acknowledged)
        for number in range(times):
            goal = world.run.calls / (times + 1) * (number + world.random.uniform(0.3, 1.0))
            wait_until(lambda goal=goal: world.published >= goal, PATIENCE)
            # In the middle of a body, for one has just begun.
            before = begun(world)
            wait_until(lambda before=before: begun(world) > before, STALLED)
            time.sleep(world.random.uniform(0, fault.pause))
            fault.strike(world)
        return acknowledged, times + publishing.result()


def publish(world: World, fault: Fault, task: Task, acknowledged: set[str]) -> int:
    """Make the calls, no faster than they are run; return how often the fault struck with them."""
    times, slack = 0, BACKLOG
    try:
        for number in range(world.run.calls):
            # Whatever is lost is not waited for.
            if not wait_until(lambda: world.published - begun(world) <= slack, 2.0 if number > 1 else 60.0):  # noqa: B023
                slack = world.published - begun(world) + BACKLOG
            close_old_connections()  # as with each request
            with suppress(Exception):
                times += fault.call(task, number)
                acknowledged.add(str(number))
            world.published += 1
    finally:
        world.all_published.set()
        connection.close()
    return times


def drain(world: World, *, ours: bool) -> None:
    """Wait until nothing comes any more, with new workers, and have everything swept."""
    connection.close()  # it may be older than the server
    world.renew_workers()
    wait_until(lambda: not (ours and is_pending()), PATIENCE)
    call_command("task_safety", "sweep", stdout=StringIO())
    before = -1
    # As long as anything comes, however slowly, it is not over.
    while before < begun(world) and not is_drained(world, ours=ours):
        before = begun(world)
        wait_until(lambda: is_drained(world, ours=ours), PATIENCE)


def is_drained(world: World, *, ours: bool) -> bool:
    """Return whether nothing is left, and nothing comes any more."""
    return is_quiet(world) and not messages_left(world) and not (ours and is_pending())


def is_quiet(world: World) -> bool:
    """Return whether no attempt begins for some seconds."""
    before = begun(world)
    return not wait_until(lambda: begun(world) > before, QUIET)


def messages_left(world: World) -> int:
    """Return how many messages the broker has, those that wait for an acknowledgement included as far as it tells."""
    if isinstance(world.broker, Redis):
        with redis.Redis.from_url(world.broker.url) as client:
            return client.llen("celery") + client.hlen("unacked")
    if world.broker is None:
        return len(list((world.folder / "queue").iterdir()))
    with current_app.connection_for_read() as broker:
        return broker.default_channel.queue_declare("celery", passive=True).message_count


def is_pending() -> bool:
    from django_task_safety.models import Operation

    return Operation.objects.pending().exists()


def traces() -> list[tuple[str, str]]:
    from tests.testapp.models import Effect

    return list(Effect.objects.values_list("name", "key"))


if __name__ == "__main__":
    main(*sys.argv[1:])
