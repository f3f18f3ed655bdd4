"""Log records say of which operation they are."""

import io
import logging
import subprocess
import sys

import pytest

from django_task_safety import current_operation, idempotent_task
from django_task_safety.models import Operation
from django_task_safety.worker.log_filter import OperationFilter
from tests.support.delivering import statements

logger = logging.getLogger("somebody.elses")


@idempotent_task(key=["order", "card"], redact=["card"])
def charges(order: int, card: str) -> None:
    logger.warning("charged", extra={"task": "the record's own"} if order == 2 else {})
    if order == 3:
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
