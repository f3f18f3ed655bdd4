"""Backends of Django's Tasks to compare ours with: those on the package index that have workers to kill."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from tests.support.workers import ROOT, Worker

SETTINGS = "tests.live.rivals.settings"


@dataclass(frozen=True)
class Backend:
    """A backend, and how its worker is started."""

    path: str
    #: What is to be installed, and to be in ``INSTALLED_APPS``; nothing for ours.
    package: str = ""
    apps: tuple[str, ...] = ()
    #: Celery's settings.
    celery: dict[str, Any] = field(default_factory=dict)
    #: Where it is none of Celery's.
    command: tuple[str, ...] = ()

    @property
    def missing(self) -> str:
        """Why it cannot be tried; nothing where it can."""
        there = not self.package or find_spec(self.package.replace("-", "_"))
        return "" if there else f"{self.package} is not installed"

    @property
    def environment(self) -> dict[str, str]:
        tasks = {"default": {"BACKEND": self.path}}
        told = {"TASKS": tasks, "apps": self.apps, "celery": self.celery}
        return {"DJANGO_SETTINGS_MODULE": SETTINGS, "TASK_SAFETY_TEST_RIVAL": json.dumps(told)}

    def worker(self) -> Worker:
        worker = Worker("-Q", "celery,default", **self.environment)
        if self.command:
            worker.command = [sys.executable, "-m", "django", *self.command]
        return worker

    def enqueue(self, number: int) -> None:
        """Enqueue so many tasks, in a process that has this backend."""
        command = [sys.executable, "-m", "tests.live.rivals.enqueue", str(number)]
        subprocess.run(command, cwd=ROOT, env=self.worker().env, check=True)


#: As `safe_task` says for each of its tasks; Celery's own setting is to acknowledge before the task runs.
LATE = {"CELERY_TASK_ACKS_LATE": True, "CELERY_TASK_REJECT_ON_WORKER_LOST": True}
OURS = Backend("django_task_safety.backends.SafeTaskBackend")
RIVALS = {
    "django-tasks-db": Backend(
        "django_tasks_db.DatabaseBackend",
        "django-tasks-db",
        ("django_tasks_db",),
        command=("db_worker", "--interval", "0.1", "--no-startup-delay"),
    ),
    "django-tasks-celery": Backend("django_tasks_celery.CeleryBackend", "django-tasks-celery"),
    "django-tasks-celery, late": Backend("django_tasks_celery.CeleryBackend", "django-tasks-celery", celery=LATE),
    "django-tasks-fennel": Backend(
        "django_tasks_fennel.CeleryBackend", "django-tasks-fennel", ("django_tasks_fennel",)
    ),
    "django-tasks-fennel, late": Backend(
        "django_tasks_fennel.CeleryBackend", "django-tasks-fennel", ("django_tasks_fennel",), celery=LATE
    ),
}
