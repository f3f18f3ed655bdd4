"""`assert_crash_safe`, judged by tasks as projects have them: it names each fault's line, and blames nothing else."""

import inspect

import pytest
from django.core.cache import cache
from django.core.mail import send_mail
from django.db import connection
from django.db.models.signals import post_save

from django_task_safety.testing import CleanRunFailed, NotCrashSafe, assert_crash_safe
from tests.testapp.models import Country, Machine, Note, Order
from tests.testing.planted import CORRECT, FAULTY

pytestmark = [
    pytest.mark.live,
    pytest.mark.usefixtures("other_system", "shop"),
    pytest.mark.filterwarnings("ignore:Django 2028 will not have a default mailer"),
    pytest.mark.django_db(databases=["default", "other"], transaction=connection.vendor != "sqlite"),
]


def body(task):
    function = getattr(task, "func", None) or getattr(task, "body", None) or getattr(task, "run", task)
    return inspect.unwrap(function)


def named(task):
    return body(task).__name__


def each(tasks):
    return [pytest.param(task, id=named(task)) for task in tasks]


def marked_line(task):
    """Return where the fault is, as ``file.py:12``."""
    lines, first = inspect.getsourcelines(body(task))
    (number,) = [first + place for place, line in enumerate(lines) if "# fault:" in line]
    return f"{inspect.getfile(body(task)).rpartition('/')[2]}:{number}"


def arguments(task):
    return [7] if inspect.signature(body(task)).parameters else []


def tell_by_mail(instance, **kwargs):
    send_mail(f"{instance} is saved", "", "shop@example.org", ["ann@example.org"])


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setenv("TASK_SAFETY_TEST_FOLDER", str(tmp_path))
    (tmp_path / "inbox.csv").write_text("a\nb\n")
    Order.objects.bulk_create([Order(number=7, amount=250), Order(number=8, amount=100)])
    Note.objects.bulk_create([Note(title=f"n{n}") for n in range(1, 5)])
    Machine.objects.create(name="idle")
    Country.objects.using("other").bulk_create([Country(code="de"), Country(code="fr")])
    cache.clear()
    cache.set("order-7", 0, None)
    post_save.connect(tell_by_mail, Machine)
    yield
    post_save.disconnect(tell_by_mail, Machine)
    cache.clear()


@pytest.mark.parametrize("task", each(FAULTY))
def test_a_planted_fault_is_found_and_its_line_named(task):
    if connection.vendor != "postgresql" and named(task) == "commits_in_sql":
        with pytest.raises(CleanRunFailed, match="committed its transaction"):
            assert_crash_safe(task, *arguments(task))
        return
    with pytest.raises(NotCrashSafe) as failure:
        assert_crash_safe(task, *arguments(task))
    assert failure.value.report.unsafe[0].point.line == marked_line(task), str(failure.value)


@pytest.mark.parametrize("task", each(CORRECT))
def test_a_task_of_the_same_kind_done_right_is_not_blamed(task):
    report = assert_crash_safe(task, *arguments(task))
    assert report.points
    assert not report.unsafe
