"""Objects cross the broker as references: they arrive fresh, or their operation ends as cancelled."""

import uuid

import pytest
from django.contrib.auth.models import User

from django_task_safety import InvalidArguments, current_operation, idempotent_task, safe_task
from django_task_safety.models import Operation
from tests.support.ids import label
from tests.support.operations import only
from tests.testapp.models import Country, Document, Note, PinnedNote, Report

State = Operation.State
received: list[object] = []


@safe_task
def arrive(value: object, *more: object, **named: object) -> None:
    received.append(value)
    received.extend(more)
    received.extend(named.values())


@safe_task(subject="target")
def move(source: Note, target: Note | None = None) -> None:
    received.append((source, target))


@safe_task
def knows_its_subject(number: int, given: Note) -> None:
    received.append(current_operation().subject)


@idempotent_task
def once(value: object) -> None:
    received.append(value)


@safe_task
def rename(note: Note, title: str) -> None:
    note.title = title
    note.save()


@pytest.fixture(autouse=True)
def _nothing_received():
    received.clear()


def note(title: str = "a") -> Note:
    return Note.objects.create(title=title)


def test_an_object_arrives_as_it_is_when_the_task_runs(worker):
    given = note("old")
    arrive.delay(given)
    Note.objects.update(title="new")
    worker.drain()
    (arrived,) = received
    assert (arrived, arrived.title) == (given, "new")
    assert arrived is not given


def test_the_message_and_the_row_hold_no_values_of_the_object(worker):
    arrive.delay(note("secret"))
    assert "secret" not in only().payload
    assert b"secret" not in worker.take_one().body


def test_unsaved_changes_of_an_object_do_not_reach_the_task(worker):
    given = note("saved")
    given.title = "not saved"
    arrive.delay(given)
    worker.drain()
    assert received[0].title == "saved"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda obj: [obj],
        lambda obj: {"a": [{"b": obj}]},
        lambda obj: (1, (2, obj)),
        lambda obj: [obj, obj, "text", None],
        lambda obj: [[[[[obj]]]]],
    ],
)
def test_objects_may_be_anywhere_in_the_arguments(worker, wrap):
    given = note("old")
    arrive.delay(1, wrap(given), named=wrap(given))
    Note.objects.update(title="new")
    worker.drain()
    assert only().state == State.SUCCEEDED, only().error
    listed = wrap(given) if not isinstance(wrap(given), tuple) else [1, [2, given]]
    assert received[1:] == [listed, listed]
    assert "old" not in str(received)


def test_the_callers_own_arguments_stay_as_they_were(worker):
    given = {"notes": [note()]}
    arrive.delay(given)
    assert isinstance(given["notes"][0], Note)


@pytest.mark.parametrize("value", [Document, Country, User], ids=lambda model: model.__name__)
def test_every_kind_of_primary_key_comes_through(worker, value):
    made = {
        Document: lambda: Document.objects.create(title="d"),
        Country: lambda: Country.objects.create(code="a/b:c'd\"é \\"),
        User: lambda: User.objects.create(username="u"),
    }[value]()
    operation = arrive.enqueue(made)
    worker.drain()
    assert received == [made]
    assert list(Operation.objects.for_object(made)) == [operation]
    assert Operation.objects.get().subject == made


def test_a_child_and_its_parent_are_one_subject(worker):
    report = Report.objects.create(title="r", pages=3)
    operation = arrive.enqueue(report)
    parent = Note.objects.get(pk=report.pk)
    for same in (report, parent, PinnedNote.objects.get(pk=report.pk)):
        assert list(Operation.objects.for_object(same)) == [operation]
    worker.drain()
    assert (type(received[0]), received[0].pages) == (Report, 3)


def test_a_proxy_and_its_model_are_one_subject_and_the_class_is_kept(worker):
    pinned = PinnedNote.objects.create(title="p")
    operation = arrive.enqueue(pinned)
    assert list(Operation.objects.for_object(Note.objects.get())) == [operation]
    worker.drain()
    assert type(received[0]) is PinnedNote


def test_a_deferred_instance_is_a_reference_like_any_other(worker):
    given = note("a")
    arrive.delay(Note.objects.only("pk").get())
    worker.drain()
    assert received == [given]


def test_the_option_subject_names_the_parameter_that_is_the_subject(worker):
    source, target = note("source"), note("target")
    operation = move.enqueue(source, target)
    assert operation.subject == target
    assert not Operation.objects.for_object(source).exists()
    assert move.enqueue(source).subject is None


def test_the_running_operation_knows_its_subject(worker):
    given = note("a")
    knows_its_subject.delay(1, given)
    worker.drain()
    assert received == [given]


@pytest.mark.parametrize("how", ["positional", "keyword"])
def test_an_object_among_variable_arguments_is_the_subject(worker, how):
    given = note()
    operation = arrive.enqueue(1, given) if how == "positional" else arrive.enqueue(1, note=given)
    assert operation.subject == given


def test_a_named_subject_that_is_no_object_is_refused(worker):
    with pytest.raises(InvalidArguments, match="target"):
        move.delay(note(), "not a note")


def test_an_instance_without_a_row_has_no_operations(db):
    with pytest.raises(InvalidArguments, match="never saved"):
        Operation.objects.for_object(Note())


@pytest.mark.parametrize("what", [None, Note, 5], ids=label)
def test_for_object_refuses_what_is_no_model_instance(db, what):
    with pytest.raises(InvalidArguments, match="not a model instance"):
        Operation.objects.for_object(what)


def test_send_task_cannot_carry_an_object_but_a_safe_call_in_a_signature_can(worker):
    given = note()
    arrive.signature((given,)).apply_async()
    worker.drain()
    assert received == [given]


def test_objects_in_a_canvas_cross_the_broker(worker):
    given = note("a")
    (arrive.si(1) | arrive.si(given) | arrive.si([given])).delay()
    worker.drain()
    assert received == [1, given, [given]]


def test_a_link_may_carry_an_object(worker):
    given = note("a")
    arrive.apply_async((1,), link=arrive.si(given))
    worker.drain()
    assert received == [1, given]


def test_equal_references_are_one_key_and_different_ones_are_not(worker):
    one, two = note(), note()
    assert once.enqueue([one]) == once.enqueue([Note.objects.get(pk=one.pk)]) != once.enqueue([two])


def test_an_object_with_an_explicit_primary_key_must_be_saved_first(worker):
    with pytest.raises(InvalidArguments, match="Save it first"):
        arrive.delay(Document(id=uuid.uuid4(), title="new"))


def test_a_task_may_save_the_object_that_was_loaded_for_it(worker):
    given = note("old")
    rename.delay(given, "new")
    worker.drain()
    given.refresh_from_db()
    assert given.title == "new"


def test_a_reference_survives_a_change_of_the_secret_key(worker, settings):
    given = note("a")
    arrive.delay(given)
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "the new one"
    worker.drain()
    assert received == [given]


def test_a_reference_signed_with_a_forgotten_secret_key_stays_a_dict_and_is_logged(worker, settings, caplog):
    arrive.delay(note("a"))
    settings.SECRET_KEY = "the new one"
    worker.drain()
    assert [type(value) for value in received] == [dict]
    assert "SECRET_KEY_FALLBACKS" in caplog.text
