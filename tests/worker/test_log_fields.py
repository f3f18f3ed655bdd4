"""Log records say of which operation they are."""

import ast
import io
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

import django_task_safety
from django_task_safety import current_operation, idempotent_task, ledger, safe_task
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from django_task_safety.worker.log_filter import OperationFilter
from tests.support.delivering import statements

logger = logging.getLogger("somebody.elses")


@idempotent_task(key=["order", "card"], redact=["card"])
def charges(order: int, card: str) -> None:
    logger.warning("charged", extra={"task": "the record's own"} if order == 2 else {})
    if order == 3:
        raise ValueError("no")


@safe_task(max_retries=0)
def never_compensated() -> None: ...


@never_compensated.compensate
def fails(operation: Operation, exc: BaseException) -> None:
    raise ValueError("no")


@pytest.fixture
def records(worker, caplog):
    caplog.set_level(logging.INFO)
    return lambda message: [entry for entry in caplog.records if entry.getMessage().startswith(message)]


def test_those_of_a_running_task_carry_operation_task_key_and_attempt(worker, records):
    operation = charges.enqueue(1, "4111-1111")
    worker.drain()
    (entry,) = records("charged")
    assert (entry.operation, entry.task, entry.attempt) == (str(operation.pk), charges.name, 1)
    assert entry.key == operation.key
    assert "4111" not in entry.key


def test_those_of_this_package_carry_them_in_every_process(worker, records):
    operation = charges.enqueue(1, "4111-1111")
    worker.drain()
    for name, attempt in (("enqueued", 0), ("started", 1), ("succeeded", 1)):
        (entry,) = records(f"operation {name}")
        assert (entry.operation, entry.task, entry.attempt) == (str(operation.pk), charges.name, attempt)
        assert entry.key == operation.key


def test_no_line_of_this_package_about_an_operation_lacks_them():
    calls = [
        (path.name, node)
        for path in Path(django_task_safety.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("logger.")
    ]
    about = [(name, node) for name, node in calls if re.search(r"operation %s|operation\.pk|\bpk\b", ast.unparse(node))]
    assert len(about) > 3
    assert [name for name, node in about if "extra" not in {one.arg for one in node.keywords}] == []


def test_also_where_a_sweep_compensates_for_what_was_lost(worker, records):
    operation = never_compensated.enqueue()
    ledger.claim(operation.pk, "lost", 30, None)
    worker.pass_time(31)
    sweeper.sweep()
    (entry,) = records(f"operation {operation.pk}: its compensation failed")
    assert (entry.operation, entry.task, entry.attempt) == (str(operation.pk), never_compensated.name, 1)


def test_what_a_record_says_itself_it_keeps(worker, records):
    charges.delay(2, "x")
    worker.drain()
    (entry,) = records("charged")
    assert (entry.task, entry.operation) == ("the record's own", str(Operation.objects.get().pk))


def test_a_format_may_name_them_where_no_task_runs():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(OperationFilter())
    handler.setFormatter(logging.Formatter("%(message)s [%(operation)s%(task)s%(key)s%(attempt)s]"))
    logger.addHandler(handler)
    try:
        logger.warning("outside")
    finally:
        logger.removeHandler(handler)
    assert (current_operation(), stream.getvalue()) == (None, "outside []\n")


def test_djangos_settings_may_name_the_filter():
    code = """
from django.conf import settings
fields = {"()": "django_task_safety.worker.log_filter.OperationFilter"}
handler = {"class": "logging.StreamHandler", "filters": ["fields"]}
logging = {"version": 1, "filters": {"fields": fields}, "handlers": {"all": handler}, "root": {"handlers": ["all"]}}
settings.configure(INSTALLED_APPS=["django_task_safety"], LOGGING=logging)
import django
django.setup()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_they_cost_no_statement(worker):
    with statements() as found:
        charges.delay(1, "x")
        worker.drain()
    assert len(found) == 3
