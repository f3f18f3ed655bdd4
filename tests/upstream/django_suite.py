"""Django's own tests of its ORM, with each model on PendingOperationsModel, and of its Tasks, with our backend."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.servers import PostgreSQL
from tests.upstream import ROOT
from tests.upstream.rewriting import derive_all, replace_all

#: Those that are about models, rows and queries, and about tasks.
APPS = (Path(__file__).parent / "django_apps.txt").read_text().split()
#: Models with a primary key by which operations cannot know an object (the check task_safety.E004).
REFUSED = {
    "bulk_create": ["DbDefaultPrimaryKey"],
    "model_formsets": ["BookWithCustomPK"],
    "queries": ["DateTimePK", "NonIntegerPKReturningModel"],
    "serializers": [
        "BooleanPKData",
        "DatePKData",
        "DateTimePKData",
        "DecimalPKData",
        "FilePathPKData",
        "FloatPKData",
        "GenericIPAddressPKData",
        "TextPKData",
        "TimePKData",
    ],
}
#: What the tests of Django's Tasks are given instead of its own backends: ours, which needs a database.
TASK_BACKENDS = {
    "django.tasks.backends.dummy": "tests.upstream.task_backends",
    "django.tasks.backends.immediate": "tests.upstream.task_backends",
    "import SimpleTestCase": "import TransactionTestCase as SimpleTestCase",
    "(SimpleTestCase):": "(SimpleTestCase):\n    available_apps = []",
}


def run(source: Path, labels: list[str], *, safe: bool) -> dict[str, str]:
    """Run tests of Django's, by default those of all `APPS`, and return what each came to."""
    tests = _in_place(source) if safe else source / "tests"
    outcomes = source / "outcomes.json"
    outcomes.unlink(missing_ok=True)
    command = [sys.executable, str(tests / "runtests.py"), "--settings", "tests.upstream.in_django"]
    options = ["--parallel", "1", "--noinput"]
    with PostgreSQL() as database:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "UPSTREAM_OUTCOMES": str(outcomes),
            "UPSTREAM_DATABASE": json.dumps(database.django_settings()),
            "CELERY_BROKER_URL": "memory://",
        }
        subprocess.run([*command, *options, *(labels or APPS)], env=environment, cwd=tests, check=False)
    found: dict[str, str] = json.loads(outcomes.read_text())
    return found


def _in_place(source: Path) -> Path:
    """Return a copy of the tests with our classes in place."""
    copy = source / "safe" / "tests"
    if copy.exists():
        return copy
    shutil.copytree(source / "tests", copy)
    # One of them has the name of a package that ours needs.
    shutil.rmtree(copy / "model_utils")
    for app in APPS:
        derive_all(copy / app, REFUSED.get(app, ()))
    replace_all(copy / "tasks", TASK_BACKENDS)
    runtests = copy / "runtests.py"
    before, begin, after = runtests.read_text().partition("ALWAYS_INSTALLED_APPS = [")
    assert begin
    runtests.write_text(f'{before}{begin}"django_task_safety", {after}')
    return copy
