"""``task_safety doctor``: each probe, by what it says of what is good, bad, and not to be seen."""

import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from celery import Celery
from django.core.checks import Info, Warning
from django.db import OperationalError, connection
from django.db.models import F
from kombu.transport import TRANSPORT_ALIASES, memory

from django_task_safety import SafeTask
from django_task_safety.ids import new
from django_task_safety.management.actions import doctor
from django_task_safety.management.doctor import broker, database, findings, result_backend
from django_task_safety.management.doctor.findings import Condition
from django_task_safety.models import Operation
from django_task_safety.values.clock import After
from django_task_safety.worker import backlog
from tests.celery import app
from tests.support.commands import task_safety
from tests.support.factories import WorkerFactory
from tests.testapp.tasks import record

pytestmark = pytest.mark.django_db(transaction=True)


def long() -> None: ...


class Redelivering(memory.Channel):
    """A channel that delivers again what is not acknowledged in time, as those of Redis and SQS do."""

    visibility_timeout = 3600.0


class RedeliveringTransport(memory.Transport):
    Channel = Redelivering


class Down(memory.Transport):
    def establish_connection(self):
        raise ConnectionRefusedError("connection refused\nto the broker")


class Hanging(memory.Transport):
    def establish_connection(self):
        time.sleep(30)


@pytest.fixture(autouse=True)
def _only_the_tests_app(monkeypatch):
    """What the system checks say of it is not what is tested here, nor are the apps that other tests made."""
    monkeypatch.setattr(doctor, "apps", lambda: [app])
    monkeypatch.setattr(doctor.checks, "run_checks", lambda **kwargs: [])


@pytest.fixture
def make_app(monkeypatch):
    """Make a Celery app whose broker is of a class."""
    made = []

    def make(transport: type = memory.Transport, **conf) -> Celery:
        scheme = transport.__name__.lower()  # kombu remembers what it loaded for each
        monkeypatch.setitem(TRANSPORT_ALIASES, scheme, f"{transport.__module__}:{transport.__name__}")
        one = Celery("tested", set_as_current=False, broker=f"{scheme}://user:s3cret@host//")
        one.conf.update(conf)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


def found(about: str, *options: str) -> list[tuple[str, str]]:
    data = task_safety("doctor", "--json", *options).json
    return [(one["condition"], one["text"]) for one in data["findings"] if one["about"] == about]


def one_of(about: str, *options: str) -> tuple[str, str]:
    (finding,) = found(about, *options)
    return finding


def test_where_all_is_well_doctor_ends_with_0():
    worker = WorkerFactory()
    answer = task_safety("doctor")
    assert answer.code == 0, answer
    assert answer.err == ""
    assert all(line.startswith("✓") for line in answer.out.splitlines())
    assert f"1 worker: {worker.name}" in answer.out
    data = task_safety("doctor", "--json").json
    assert data["good"] is True
    abouts = {one["about"] for one in data["findings"]}
    assert abouts >= {"database", "broker", "clocks", "workers", "settings", "queues", "sweeps", "result backend"}
    assert abouts >= {"stuck work", "system checks"}


def test_what_cannot_be_told_is_not_called_good():
    answer = task_safety("doctor")
    assert answer.code == 1
    assert "? settings:" in answer.out
    assert "cannot tell: " in answer.out
    assert answer.err.startswith("Found 2 problems, and 2 that cannot be told")


def test_no_worker_is_a_problem():
    assert one_of("workers") == ("bad", "no worker is running")
    assert found("queues") == [("cannot tell", "no worker has said to which it listens")]


def test_a_worker_with_another_version_is_named():
    WorkerFactory(name="old@host", celery="5.0.0")
    assert found("workers")[1][0] == "bad"
    assert found("workers")[1][1].startswith("old@host: It runs Celery 5.0.0")


def test_a_worker_with_other_settings_is_named_once():
    WorkerFactory(name="good@host")
    WorkerFactory(name="other@host", settings="abc")
    condition, text = one_of("settings")
    assert (condition, text.endswith(": other@host")) == ("bad", True)
    assert len(found("workers")) == 1


def test_a_required_version_must_run_on_every_worker():
    assert one_of("version", "--require-version", "9.9")[0] == "cannot tell"
    worker = WorkerFactory(name="new@host")
    assert one_of("version", "--require-version", worker.package)[0] == "good"
    WorkerFactory(name="old@host", package="0.0.1")
    assert one_of("version", "--require-version", worker.package) == (
        "bad",
        f"not {worker.package}: old@host (0.0.1)",
    )
    assert task_safety("doctor", "--require-version", worker.package).code == 1


def test_a_queue_to_which_nobody_listens_is_named():
    WorkerFactory()
    record.enqueue("a")
    Operation.objects.update(queue="slow")
    bad = [text for condition, text in found("queues") if condition == "bad"]
    assert len(bad) == 1
    assert "slow" in bad[0]


def test_a_task_whose_queue_nobody_listens_to_is_named_before_it_is_called(monkeypatch):
    WorkerFactory()
    routed = {record.name: "reports"}
    monkeypatch.setattr(backlog, "queue_of", lambda task: routed.get(task.name, "celery"))
    bad = [text for condition, text in found("queues") if condition == "bad"]
    assert bad == [f"nobody listens to 'reports', to which {record.name} would go"]


def test_nobody_who_sweeps_is_a_problem():
    worker = WorkerFactory()
    assert one_of("sweeps")[0] == "good"
    type(worker).objects.update(last_sweep=After(-3600))
    assert one_of("sweeps") == ("bad", "the last one 1 h ago")
    type(worker).objects.update(last_sweep=None)
    assert one_of("sweeps")[0] == "bad"


def test_stuck_work_is_named_with_its_reason():
    WorkerFactory(queues=["other"])
    operation = record.enqueue("a")
    Operation.objects.update(available_at=F("available_at") - timedelta(minutes=5))
    number, named = found("stuck work")
    assert number == ("bad", "1 operation; see task_safety list --stuck")
    assert named[1].startswith(f"{operation.pk} {record.name}: No worker listens to the queue")


def test_clocks_that_differ_are_named(monkeypatch):
    WorkerFactory(host="late.example", clock=After(-60))
    here, worker = found("clocks")
    assert here[0] == "good"
    assert worker == ("bad", f"the host late.example of {_name()} is 60.0 s behind the database")
    there = database.table.now()
    monkeypatch.setattr(database.table, "now", lambda: there + timedelta(seconds=30))
    condition, text = found("clocks")[0]
    assert condition == "bad"
    assert text.startswith(("this host is 29.", "this host is 30."))
    assert text.endswith(" s behind the database")


def _name() -> str:
    from django_task_safety.models import Worker

    return Worker.objects.get().name


def test_a_database_that_is_down_is_one_clear_line_and_nothing_of_it_is_called_good(monkeypatch):
    def down():
        raise OperationalError("connection refused\nIs the server running?")

    monkeypatch.setattr(database.table, "now", down)
    answer = task_safety("doctor")
    assert answer.code == 1
    assert "✗ database:           'default' does not answer: OperationalError: connection refused Is the" in answer.out
    assert "Traceback" not in answer.out + answer.err
    for about in ("clocks", "workers", "queues", "sweeps", "stuck work"):
        assert one_of(about) == ("cannot tell", "the database does not say")
    assert one_of("broker")[0] == "good"


def test_a_database_that_hangs_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(database.table, "connection", lambda: SimpleNamespace(vendor="postgresql"))
    monkeypatch.setattr(database, "_connect", lambda alias: time.sleep(30))
    (finding,) = database.probe(0.05)
    assert finding.text == "'default' does not answer: NoAnswer: no answer within 0.05 s"


def test_a_database_without_the_tables_is_told_to_migrate(monkeypatch):
    monkeypatch.setattr(database, "_unapplied", lambda: ["0001_initial"])
    condition, text = one_of("database")
    assert (condition, text) == ("bad", "'default' is not migrated: 0001_initial")


def test_the_database_is_asked_on_a_connection_of_its_own():
    connection.close()
    database._connect("default")
    assert connection.connection is None


def test_a_broker_that_is_down_is_one_clear_line_without_its_password(make_app):
    (finding,) = broker.probe(make_app(Down), 2)
    assert finding.condition == Condition.BAD
    assert "does not answer: ConnectionRefusedError: connection refused to the broker" in finding.text
    assert "s3cret" not in finding.text


def test_a_broker_that_hangs_is_not_waited_for(make_app):
    (finding,) = broker.probe(make_app(Hanging), 0.05)
    assert finding.text.endswith("does not answer: no answer within 0.05 s")


def test_a_broker_without_a_visibility_timeout_needs_none(make_app):
    (finding,) = broker.probe(make_app(), 2)
    assert finding.condition == Condition.GOOD


@pytest.mark.parametrize(
    ("limit", "visibility", "condition"),
    [(1200, 3600, "good"), (3600, 3600, "bad"), (None, 3600, "bad"), (5, 20, "bad")],
)
def test_the_visibility_timeout_is_compared_with_time_limits_and_the_lease(
    make_app, monkeypatch, limit, visibility, condition
):
    monkeypatch.setattr(Redelivering, "visibility_timeout", visibility)
    one = make_app(RedeliveringTransport)
    one.task(base=SafeTask, shared=False, name="tested.long", time_limit=limit, soft_time_limit=None)(long)
    one.finalize()
    if limit is None:
        monkeypatch.setattr(type(one.tasks["tested.long"]), "time_limit", None)
    finding = list(broker.probe(one, 2))[1]
    assert (finding.about, finding.condition) == ("visibility timeout", condition)


def test_the_visibility_timeout_of_queues_that_keep_their_own_cannot_be_told(make_app, monkeypatch):
    monkeypatch.setattr(RedeliveringTransport, "driver_type", "sqs")
    finding = list(broker.probe(make_app(RedeliveringTransport), 2))[1]
    assert finding.condition == Condition.UNKNOWN


def test_no_result_backend_and_one_of_messages_are_good(make_app):
    assert result_backend.probe(make_app(result_backend="disabled://"), 2).condition == Condition.GOOD
    assert result_backend.probe(make_app(result_backend="rpc://"), 2).condition == Condition.GOOD


def test_a_result_backend_that_is_down_or_hangs_is_one_clear_line(monkeypatch):
    def down(*args, **kwargs):
        raise ConnectionError("refused\nby it")

    monkeypatch.setattr(type(app.backend), "get_task_meta", down)
    finding = result_backend.probe(app, 2)
    assert (finding.condition, finding.text) == ("bad", "CacheBackend does not answer: ConnectionError: refused by it")
    monkeypatch.setattr(type(app.backend), "get_task_meta", lambda *args, **kwargs: time.sleep(30))
    assert result_backend.probe(app, 0.05).text == "CacheBackend does not answer: no answer within 0.05 s"
    assert task_safety("doctor", "--timeout", "0.05").code == 1


def test_a_module_with_tasks_that_cannot_be_imported_is_named(monkeypatch):
    def broken():
        raise ImportError("no module named typo")

    monkeypatch.setattr(doctor, "import_tasks", broken)
    assert one_of("tasks")[1] == "not all modules with tasks can be imported: ImportError: no module named typo"


def test_system_checks_are_part_of_it(monkeypatch, settings):
    settings.SILENCED_SYSTEM_CHECKS = ["task_safety.W002"]
    said = [
        Warning("Something\n  is off.", id="task_safety.W001"),
        Warning("Silenced.", id="task_safety.W002"),
        Info("Some checks cannot tell.", id="task_safety.I001"),
    ]
    monkeypatch.setattr(doctor.checks, "run_checks", lambda **kwargs: said)
    assert found("system checks") == [
        ("bad", "task_safety.W001: Something is off."),
        ("cannot tell", "task_safety.I001: Some checks cannot tell."),
    ]


def test_what_answers_in_time_is_returned_and_what_raises_raises():
    assert findings.within(5, lambda: 1) == 1
    with pytest.raises(ZeroDivisionError):
        findings.within(5, lambda: 1 / 0)


def test_asking_a_result_backend_leaves_nothing_behind():
    result_backend._store_and_read(app.backend)
    assert app.AsyncResult(str(new())).state == "PENDING"
