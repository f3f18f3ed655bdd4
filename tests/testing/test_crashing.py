"""`assert_crash_safe` finds where a task must not die, and names the line; a task that may die anywhere passes."""

import gc
import inspect
import multiprocessing
import os
import re
import tempfile
import time
import unittest
from contextlib import suppress
from pathlib import Path

import pytest
from django.core.cache import cache
from django.db import connection, connections, transaction

from django_task_safety import InvalidArguments
from django_task_safety.testing import CleanRunFailed, NotCrashSafe, assert_crash_safe, crashing, processes
from tests.testapp.models import Effect, Order
from tests.testapp.tasks import act
from tests.testing import crashing_tasks as tasks

pytestmark = [
    pytest.mark.usefixtures("other_system"),
    # Servers copy only what is committed.
    pytest.mark.django_db(databases=["default", "other"], transaction=connection.vendor != "sqlite"),
]


def named(task):
    return task.name.rpartition(".")[2]


def marked_line(task):
    """Return where the fault is, as ``file.py:12``."""
    lines, first = inspect.getsourcelines(inspect.unwrap(getattr(task, "body", None) or task.run))
    (number,) = [first + place for place, line in enumerate(lines) if "# fault" in line]
    return f"crashing_tasks.py:{number}"


def databases_of_the_server():
    queries = {"postgresql": "SELECT datname FROM pg_database", "mysql": "SHOW DATABASES"}
    if connection.vendor not in queries:
        return []
    with connection.cursor() as cursor:
        cursor.execute(queries[connection.vendor])
        return sorted(cursor.fetchall())


def interrupted(*args):
    raise KeyboardInterrupt


def children():
    """Return the processes that this one has started and not waited for; where nobody says so, none."""
    found: list[str] = []
    for file in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError):  # a thread that has ended meanwhile
            found += file.read_text().split()
    return found


@pytest.fixture(autouse=True)
def _nothing_left_behind(tmp_path_factory, monkeypatch, db):
    """Whatever becomes of it: no copy of a database, no process and no file of its own is there afterwards."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    databases, processes_before = databases_of_the_server(), children()
    yield
    assert databases_of_the_server() == databases
    assert children() == processes_before
    assert list(folder.iterdir()) == []


@pytest.fixture(autouse=True)
def _an_order(tmp_path, monkeypatch):
    monkeypatch.setenv("TASK_SAFETY_TEST_FILE", str(tmp_path / "charged.txt"))
    cache.clear()
    Order.objects.create(pk=700, number=7, amount=250)
    yield
    cache.clear()


@pytest.mark.live
@pytest.mark.parametrize("task", tasks.FAULTY, ids=named)
def test_a_fault_is_found_and_its_line_named(task):
    if connection.vendor == "mysql" and task is tasks.commits_by_hand:
        pytest.skip("MariaDB and MySQL tell of the commit, so that the clean run fails")
    with pytest.raises(NotCrashSafe) as failure:
        assert_crash_safe(task, 7)
    report = failure.value.report
    assert tasks.FAULTY[task] in str(report)
    assert report.unsafe[0].point.line == marked_line(task)


@pytest.mark.live
@pytest.mark.parametrize("task", tasks.CORRECT, ids=named)
def test_a_task_that_may_die_anywhere_passes(task):
    report = assert_crash_safe(task, 7)
    assert report.points
    assert not report.unsafe


def test_what_is_said():
    with pytest.raises(NotCrashSafe) as failure:
        assert_crash_safe(tasks.mails_before_the_commit, 7)
    first, second, third, *others = str(failure.value).splitlines()
    assert re.search(r"mails_before_the_commit: \d+ points, 4 of them unsafe\.$", first)
    assert second == f"The first is {marked_line(tasks.mails_before_the_commit)}, " + (
        "after mail: to ann@example.org: Charged 250"
    )
    assert third == "  + mail: to ann@example.org: Charged 250"
    assert others[0] == "The others are"
    assert "before COMMIT" in others[-1]


def test_what_two_clean_runs_differ_in_is_said():
    report = assert_crash_safe(tasks.has_clocks_and_random_keys, 7)
    assert "testapp_effect.created" in report.masked
    assert "testapp_effect.name" in report.masked
    assert "testapp_document.id" in str(report)


def test_nothing_is_left_behind(tmp_path):
    with pytest.raises(NotCrashSafe):
        assert_crash_safe(tasks.appends_to_a_file, 7)
    assert list(tmp_path.iterdir()) == []
    assert Order.objects.get().charged == 0
    assert not Effect.objects.exists()


def test_a_callable_without_arguments_is_called_again():
    with pytest.raises(NotCrashSafe, match=r"The first is test_crashing.py:\d+, after INSERT"):
        assert_crash_safe(lambda: Effect.objects.create(name="a", key="b"))
    assert assert_crash_safe(lambda: Effect.objects.filter(key="b").update(name="c")).points


def test_djangos_tasks_are_tried_as_well():
    django_tasks = pytest.importorskip("tests.testapp.django_tasks", reason="there are no Tasks", exc_type=ImportError)
    assert assert_crash_safe(django_tasks.add, 1, 2).points


def test_a_clean_run_that_fails_is_said_to_be_one():
    with pytest.raises(CleanRunFailed, match=r"act fails without being harmed.*failed.*no"):
        assert_crash_safe(act, "raise")
    with pytest.raises(CleanRunFailed, match="division by zero"):
        assert_crash_safe(lambda: 1 / 0)


@pytest.mark.parametrize("seconds", [0.5, 0.03], ids=["while it runs", "while its copy is made"])
def test_a_run_that_does_not_end_is_killed(monkeypatch, seconds):
    monkeypatch.setattr(crashing, "LONGEST_RUN", seconds)
    with pytest.raises(CleanRunFailed, match="has not ended after"):
        assert_crash_safe(lambda: time.sleep(60))


def test_runs_that_differ_in_more_than_values_are_refused():
    run = multiprocessing.Value("i")

    def writes_more_each_time():
        run.value += 1
        for number in range(run.value):
            Effect.objects.create(name="run", key=str(number))

    with pytest.raises(CleanRunFailed, match=r"(?s)differ in more than values; make them alike.*\+ testapp_effect: "):
        assert_crash_safe(writes_more_each_time)


def test_what_a_copy_lacks_is_said_to_be_lacking():
    with pytest.raises(CleanRunFailed, match=r"no such table|does not exist|doesn't exist") as failure:
        assert_crash_safe(lambda: Effect.objects.raw("SELECT * FROM nowhere")[0])
    assert "on copies of default, other: make what it needs there before" in str(failure.value)


def test_a_transaction_that_is_committed_within_atomic_is_said():
    with pytest.raises(CleanRunFailed, match="forbidden when an 'atomic' block is active"):
        assert_crash_safe(tasks.commits_what_is_not_its_own, 7)


@pytest.mark.skipif("connection.vendor != 'mysql'", reason="others do not tell of a commit by hand")
def test_an_attempt_that_is_refused_for_a_commit_by_hand_is_said():
    with pytest.raises(CleanRunFailed, match=r"committed its transaction by the statement 'COMMIT'"):
        assert_crash_safe(tasks.commits_by_hand, 7)


def test_what_follows_on_a_death_and_does_not_end_is_not_safe(monkeypatch):
    monkeypatch.setattr(crashing, "_BESIDES", 2.0)
    monkeypatch.setattr(crashing, "_TIMES_LONGER", 1)

    def waits_for_what_is_there_already():
        while Effect.objects.exists():
            time.sleep(0.01)
        Effect.objects.create(name="waits", key="7")

    with pytest.raises(NotCrashSafe, match="what follows on the death is not known: it has not ended after"):
        assert_crash_safe(waits_for_what_is_there_already)


def test_a_point_to_which_no_other_run_comes_is_not_safe():
    run = multiprocessing.Value("i")

    def looks_around_at_first():
        run.value += 1
        if run.value == 1:
            for _ in range(9):
                Effect.objects.exists()
        Effect.objects.update_or_create(name="looked", key="7")

    with pytest.raises(NotCrashSafe, match=r"another run does not come to this point.*take out what differs"):
        assert_crash_safe(looks_around_at_first)


def test_a_plain_tasks_retry_is_done_again_as_well():
    with pytest.raises(NotCrashSafe) as failure:
        assert_crash_safe(tasks.mails_in_its_retry, 7)
    found = {line for one in failure.value.report.unsafe for line in one.differences}
    assert found == {
        "+ message: tests.testing.crashing_tasks.mails_in_its_retry once more",
        "+ mail: to ann@example.org: Charged 250",
    }


def test_what_only_later_runs_write_otherwise_is_no_difference():
    run = multiprocessing.Value("i")

    def writes_the_time():
        run.value += 1
        # As a clock does that shows hours: the first two runs fall into the same one.
        Effect.objects.update_or_create(name="run", defaults={"key": str(max(2, run.value))})

    report = assert_crash_safe(writes_the_time)
    assert "testapp_effect.key" in report.masked


def test_without_fork_it_is_skipped(monkeypatch):
    monkeypatch.delattr(os, "fork")
    with pytest.raises(unittest.SkipTest, match=r"needs os\.fork"):
        assert_crash_safe(tasks.doubled, 7)


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite copies what is not committed, too")
def test_data_that_is_not_committed_is_refused():
    with (
        transaction.atomic(),
        pytest.raises(InvalidArguments, match=r"not committed.*transactional_db.*TransactionTe"),
    ):
        assert_crash_safe(tasks.doubled, 7)


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="it is PostgreSQL that copies only what nobody uses")
def test_a_connection_that_keeps_postgresql_from_copying_is_said():
    other = connections.create_connection("default")
    other.ensure_connection()
    with pytest.raises(InvalidArguments, match="Close the connections of other threads"):
        assert_crash_safe(tasks.doubled, 7)
    other.close()
    assert assert_crash_safe(tasks.sets_what_is_right, 7).points


@pytest.mark.parametrize(("module", "name"), [(crashing, "differences"), (processes, "_finished")])
def test_an_interruption_leaves_nothing_behind(module, name, monkeypatch):
    monkeypatch.setattr(module, name, interrupted)
    with pytest.raises(KeyboardInterrupt):
        assert_crash_safe(tasks.sets_what_is_right, 7)
    gc.collect()  # what was not closed is a warning then, and warnings are errors


def test_a_database_that_is_no_test_database_is_refused(monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "NAME", "/srv/shop.sqlite3")
    monkeypatch.setitem(connection.settings_dict, "TEST", {"NAME": None})
    with pytest.raises(InvalidArguments, match="not a test database"):
        assert_crash_safe(tasks.doubled, 7)
