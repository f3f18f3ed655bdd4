"""Where a run takes place: private servers, workers, and all that a fault can take away."""

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import django
from django.db.utils import ConnectionHandler

from tests.chaos.faults.fault import Fault
from tests.chaos.ledger import Run
from tests.chaos.world import QUICK, World
from tests.support.servers import Redis

#: Unacknowledged messages come back from Redis as soon as the controls can wish for.
OPTIONS: dict[str, dict[str, Any]] = {
    "redis": {"visibility_timeout": 5, "unacked_restore_interval": 1, "unacked_restore_throttle": 1},
    "rabbitmq": {"confirm_publish": True},
}
WORKERS = 2


@contextmanager
def setting(run: Run, fault: Fault, folder: Path) -> Iterator[World]:
    """Start the servers, and Django on them, for this process and its workers, which are started as well."""
    with ExitStack() as stack:
        database, broker = fault.database(run.database), fault.broker(run.broker)
        for server in filter(None, (database, broker)):
            stack.enter_context(server)
        locks = broker if isinstance(broker, Redis) else None
        if run.variant.startswith("celery-") and locks is None:
            locks = stack.enter_context(Redis())
        world = World(run, folder, database, broker)
        os.environ.update(_environment(world, fault.options, f"{locks.url[:-1]}1" if locks else ""))
        _set_up_django(world, fault.conn_max_age)
        stack.callback(world.kill_workers)
        world.worker_env = fault.worker_env
        for number in range(WORKERS):
            world.start_worker(number)
        yield world


def _environment(world: World, options: dict[str, Any], locks: str) -> dict[str, str]:
    options = OPTIONS.get(world.run.broker, {}) | options
    if world.broker is None:
        folders = {name: world.folder / name for name in ("queue", "control")}
        for path in folders.values():
            path.mkdir()
        queue = str(folders["queue"])
        options = {"data_folder_in": queue, "data_folder_out": queue, "control_folder": str(folders["control"])}
    world.folder.joinpath("begun").touch()
    return {
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "TASK_SAFETY_TEST_BROKER": world.broker.url if world.broker else "filesystem://",
        "TASK_SAFETY_TEST_OPTIONS": json.dumps(options),
        "TASK_SAFETY_TEST_SETTINGS": json.dumps(QUICK),
        "TASK_SAFETY_TEST_BEGUN": str(world.folder / "begun"),
        "TASK_SAFETY_TEST_LOG": str(world.folder / "workers.log"),
        "TASK_SAFETY_CHAOS_LOCKS": locks,
    }


def _set_up_django(world: World, age: int) -> None:
    from tests import settings

    if world.database:
        configured = {**world.database.django_settings(), "CONN_MAX_AGE": age}
    else:
        configured = {**settings.SQLITE, "NAME": str(world.folder / "database.sqlite3")}
    default = ConnectionHandler({"default": configured}).settings["default"]
    settings.DATABASES["default"] = default
    os.environ["TASK_SAFETY_TEST_DATABASE"] = json.dumps(default)
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
