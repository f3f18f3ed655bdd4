"""The checks of what the bodies of atomic tasks do."""

import functools

import pytest
from celery import chain, shared_task
from django.db import transaction

from django_task_safety import safe_task
from django_task_safety.checks import bodies
from tests.testapp.models import Note


@shared_task
def plain(*args): ...


@safe_task
def sound(*args): ...


def tells_celery(self, items):
    for number, _ in enumerate(items):
        self.update_state(state="PROGRESS", meta={"current": number, "total": len(items)})


def sets_a_percentage(note: Note, items):
    for number, _ in enumerate(items):
        note.percent_done = number
        note.save(update_fields=["percent_done"])


def counts_on(self, note: Note, items):
    while items:
        self.work(items.pop())
        note.progress += 1
        if note.progress % 10 == 0:
            note.save()


def updates_rows(pk, items):
    for number, _ in enumerate(items):
        Note.objects.filter(pk=pk).update(progress=number)


def saves_elsewhere(note: Note, items):
    for number, _ in enumerate(items):
        note.progress = number
        note.save(using="other")
        Note.objects.using("other").filter(pk=note.pk).update(progress=number)


def says_so_in_the_end(note: Note, items):
    for item in items:
        item.save()
    note.progress = 100
    note.save()


def counts_in_memory(items):
    bar, seen = items[0], {}
    for number, _ in enumerate(items):
        bar.progress = number
        seen.update(progress=number)


@pytest.mark.parametrize("body", [sets_a_percentage, counts_on, updates_rows])
def test_a_task_that_saves_its_progress_in_its_transaction_is_warned_of(project, body):
    project.safe(body)
    assert f"Task {body.__name__}:" in project.messages(bodies.check_progress)["W055"]
    project.safe(body, atomic=False)
    assert project.found(bodies.check_progress) == []


@pytest.mark.parametrize("body", [saves_elsewhere, says_so_in_the_end, counts_in_memory, tells_celery])
def test_a_task_whose_progress_is_seen_or_is_none_is_not_warned_of(project, body):
    project.safe(body)
    assert project.found(bodies.check_progress) == []


@pytest.mark.parametrize(
    ("backend", "fires"),
    [
        ("django-db", True),
        ("django_celery_results.backends:DatabaseBackend", True),
        ("django_celery_results.backends.database:DatabaseBackend", True),
        ("django-cache", False),
        ("db+sqlite:///results", False),
        (None, False),
    ],
)
def test_a_task_that_updates_its_state_in_its_transaction_is_warned_of(project, backend, fires):
    project.app.conf.result_backend = backend
    project.safe(tells_celery, bind=True)
    project.safe(updates_rows)
    found = project.messages(bodies.check_update_state)
    assert found.keys() == ({"W054"} if fires else set())
    assert not fires or "Task tells_celery:" in found["W054"]
    project.safe(tells_celery, bind=True, atomic=False)
    assert project.found(bodies.check_update_state) == []


def waits_at_once(note: Note):
    return sound.delay(note).get(timeout=3)


def waits_later(note: Note):
    result = sound.apply_async((note,))
    note.save()
    return result.get()


def waits_for_itself(self, note: Note):
    return self.delay(note).get()


def waits_for_nothing(note: Note, data: dict):
    result = sound.delay(note)
    return data.get("id"), result.id


@pytest.mark.parametrize("body", [waits_at_once, waits_later, waits_for_itself])
def test_a_task_that_waits_for_what_begins_when_it_has_ended_is_warned_of(project, body):
    project.safe(body, bind=body is waits_for_itself)
    assert f"Task {body.__name__}:" in project.messages(bodies.check_waiting)["W056"]
    project.safe(body, atomic=False, bind=body is waits_for_itself)
    assert project.found(bodies.check_waiting) == []


@pytest.mark.parametrize("body", [waits_for_nothing, updates_rows])
def test_a_task_that_waits_for_nothing_is_not_warned_of(project, body):
    project.safe(body)
    assert project.found(bodies.check_waiting) == []


def sends_at_once(note: Note):
    plain.delay(note.pk)


def sends_by_the_module(note: Note):
    from tests.testapp import tasks

    tasks.plain.apply_async((note.pk,), countdown=5)


def sends_what_it_imports(note: Note):
    from tests.testapp.tasks import plain as other

    if note.pk:
        other.s(note.pk).delay()


def sends_a_chain(note: Note):
    chain(sound.s(note), plain.si(note.pk)).apply_async()


def sends_after_the_commit(note: Note):
    transaction.on_commit(lambda: plain.delay(note.pk))
    plain.delay_on_commit(note.pk)


def sends_safely(self, note: Note):
    sound.delay(note)
    chain(sound.s(note), sound.si(note)).apply_async()
    self.delay(note)


def decorated(function):
    return function


def sends_at_its_end(note: Note):
    def inner():
        return note.pk

    return [
        plain.apply_async(
            (inner(),),
            countdown=(
                5
                #
            ),
        )
    ]


@decorated
@decorated
def sends_below_decorators(note: Note):
    plain.delay(
        # the key
        note.pk
    )


def sends_what_it_gets(tasks):
    for task in tasks:
        task.delay()


@pytest.mark.parametrize(
    "body",
    [
        *(sends_at_once, sends_by_the_module, sends_what_it_imports, sends_a_chain),
        *(sends_at_its_end, sends_below_decorators),
    ],
)
def test_a_task_that_calls_a_plain_one_in_its_transaction_is_warned_of(project, body):
    project.safe(body)
    assert f"Task {body.__name__}:" in project.messages(bodies.check_early_calls)["W057"]
    project.safe(body, atomic=False)
    assert project.found(bodies.check_early_calls) == []


@pytest.mark.parametrize("body", [sends_after_the_commit, sends_safely, updates_rows])
def test_a_task_whose_calls_wait_for_the_commit_is_not_warned_of(project, body):
    project.safe(body, bind=body is sends_safely)
    assert project.found(bodies.check_early_calls) == []


def test_a_task_that_calls_who_knows_what_is_not_judged(project):
    project.safe(sends_what_it_gets)
    assert project.messages(bodies.check_early_calls) == {}
    assert "sends_what_it_gets" in project.unknown(bodies.check_early_calls)["W057"]


def test_a_closures_task_is_known(project):
    inner = plain

    def sends_from_a_closure(note: Note):
        inner.delay(note.pk)

    project.safe(sends_from_a_closure)
    assert project.messages(bodies.check_early_calls).keys() == {"W057"}


SUSPICIOUS = "def unread(note, task):\n    note.progress = 1\n    note.save()\n    task.delay().get()\n"


@pytest.mark.parametrize("filename", ["<nowhere>", __file__])
def test_a_body_whose_source_cannot_be_read_is_not_judged(project, filename):
    names: dict = {}
    exec(compile(SUSPICIOUS, filename, "exec"), names)
    project.safe(names["unread"])
    for check, number in (
        (bodies.check_progress, "W055"),
        (bodies.check_waiting, "W056"),
        (bodies.check_early_calls, "W057"),
    ):
        assert project.messages(check) == {}
        assert project.unknown(check)[number] == "Task unread: the source cannot be read"


def test_a_body_without_suspicious_names_needs_no_source(project):
    names: dict = {}
    exec("def harmless(note):\n    note.save()\n", names)
    project.safe(names["harmless"])
    for check in (bodies.check_progress, bodies.check_waiting, bodies.check_early_calls, bodies.check_update_state):
        assert project.found(check) == []


def test_a_body_that_is_not_written_in_python_stops_no_check(project):
    @functools.wraps(len)
    def measured(obj):
        return plain.delay(len(obj)).get()

    project.safe(measured)
    for check in (bodies.check_progress, bodies.check_waiting, bodies.check_early_calls, bodies.check_update_state):
        assert project.found(check) == []
