"""Celery's own integration tests, with ``task_cls=SafeTask``."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.support.servers import LOCALHOST, PostgreSQL, RabbitMQ, Redis
from tests.upstream import ROOT

#: What a test may take.
SECONDS = 300
#: Some of its modules need a service that is not there.
OPTIONS = ("--continue-on-collection-errors", "--quiet", "--tb=short")

#: What is changed in the tests before they run with us, by file.
CHANGES = {
    "tasks.py": {
        # Classes of tasks derive from ours, whatever the app's own is.
        "from pydantic import BaseModel": "from pydantic import BaseModel; from django_task_safety import SafeTask",
        "(Task):": "(SafeTask):",
        # A task that is refused, since its limits cannot work, stays Celery's.
        "@shared_task(soft_time_limit=2, time_limit=1)": "@shared_task(base=Task, soft_time_limit=2, time_limit=1)",
    },
    # Whether one process has run 50 tasks within two seconds depends on what else the machine does.
    "test_canvas.py": {"timeout=TIMEOUT if i == 0 else 0,": "timeout=TIMEOUT,"},
}


def run(source: Path, labels: list[str], *, safe: bool) -> dict[str, str]:
    """Run integration tests of Celery's and return what each came to."""
    directory = _in_place(source) if safe else source
    outcomes = source / "outcomes.json"
    outcomes.unlink(missing_ok=True)
    plugins = [
        "no:django",
        "no:rerunfailures",
        "celery.contrib.pytest",
        "tests.upstream.recording",
        *(["tests.upstream.in_celery"] if safe else []),
    ]
    options = [option for plugin in plugins for option in ("-p", plugin)]
    command = [sys.executable, "-m", "pytest", *options, f"--timeout={SECONDS}", *OPTIONS]
    with ExitStack() as stack:
        redis, rabbitmq = stack.enter_context(Redis()), stack.enter_context(RabbitMQ())
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "UPSTREAM_OUTCOMES": str(outcomes),
            "TEST_BROKER": rabbitmq.url,
            "TEST_BACKEND": redis.url,
            "REDIS_HOST": LOCALHOST,
            "REDIS_PORT": str(redis.port),
        }
        if safe:
            environment["DJANGO_SETTINGS_MODULE"] = "tests.upstream.celery_settings"
            database = stack.enter_context(PostgreSQL())
            environment["UPSTREAM_DATABASE"] = json.dumps(database.django_settings())
        subprocess.run([*command, *(labels or ["t/integration"])], cwd=directory, env=environment, check=False)
    found: dict[str, str] = json.loads(outcomes.read_text())
    return found


def _in_place(source: Path) -> Path:
    """Return a copy of the tests in which each task is one of ours, but the one that is refused."""
    copy = source / "safe"
    if copy.exists():
        return copy
    shutil.copytree(source / "t", copy / "t")
    shutil.copy(source / "pyproject.toml", copy)
    for name, changes in CHANGES.items():
        path = copy / "t/integration" / name
        text = path.read_text()
        for before, after in changes.items():
            assert before in text
            text = text.replace(before, after)
        path.write_text(text)
    return copy
