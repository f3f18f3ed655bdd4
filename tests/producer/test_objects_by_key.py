"""Where a parameter is annotated with a model, a primary key is taken for the object: at the call and in the worker."""

import json
import uuid
from collections.abc import Mapping, MutableSequence, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Optional

import pytest
from django.utils.functional import SimpleLazyObject

from django_task_safety import PROTECT, InvalidArguments, ObjectGone, idempotent_task, safe_task
from django_task_safety.models import Operation, PendingOperationsModel
from django_task_safety.worker import sweeper
from tests.celery import app
from tests.support.delivering import about_operations, statements
from tests.support.factories import NoteFactory, PageFactory
from tests.testapp.models import Country, Document, Effect, Note, Page, PinnedNote, Report

if TYPE_CHECKING:
    from tests.testapp.models import Machine as Engine

State = Operation.State
received: list[Any] = []


@safe_task
def one(note: Note, copies: int = 1) -> None:
    received.append(note)


@safe_task
def optional(note: Note | None) -> None:
    received.append(note)


@safe_task
def by_default(note: Optional["Note"] = None, pinned: PinnedNote = None) -> None:  # type: ignore[assignment]
    received.append(note or pinned)


@safe_task
def several(notes: list[Note]) -> None:
    received.append(notes)


@safe_task
def each(*notes: Note, **named: Note) -> None:
    received.append([*notes, *named.values()])


@safe_task
def nested(notes: Sequence[Note | None], by_name: Mapping[str, Annotated[Note, "live"]], last: "Note") -> None:
    received.append([*notes, *by_name.values(), last])


@safe_task
def as_set(notes: set[Note]) -> None:
    received.append(notes)


@safe_task
def placed(pair: tuple[Note, int], more: MutableSequence[tuple[int, Note | None]]) -> None:
    received.append([*pair, *more])


@safe_task
def either(thing: Note | Country) -> None:
    received.append(thing)


@safe_task
def loosely(thing: Note | int) -> None:
    received.append(thing)


@safe_task
def any_watched(thing: PendingOperationsModel) -> None:
    received.append(thing)


@safe_task
def described(document: Document, country: Country, report: Report) -> None:
    received.extend([document, country, report])


@safe_task
def unseen(machine: "Engine") -> None:
    received.append(machine)


@idempotent_task
def once(note: Note, copies: int = 1) -> None:
    received.append(note)


@idempotent_task(key=lambda note, **_: note.title)
def once_per_title(note: Note) -> None:
    received.append(note)


@safe_task(on_delete=PROTECT)
def protects(page: Page) -> None:
    received.append(page)


@safe_task(max_retries=0)
def fails(page: Page) -> None:
    raise ValueError("no")


@fails.compensate
def mark(operation: Operation, exc: BaseException) -> None:
    Effect.objects.create(name="compensated", key=operation.subject.title)


@pytest.fixture(autouse=True)
def _nothing_received():
    received.clear()


@pytest.fixture
def note() -> Note:
    return NoteFactory()


def queued_as_before(operation: Operation, args: list[Any]) -> None:
    """Make a row what it would be, had it been queued when the parameter was a number."""
    unknown = {"subject_label": "", "subject_id": "", "subject_database": "", "on_delete": "", "lock_slot": None}
    Operation.objects.filter(pk=operation.pk).update(payload=json.dumps([args, {}]), **unknown)


@pytest.mark.parametrize("task", [one, optional, by_default, once])
@pytest.mark.parametrize("named", [False, True], ids=["by position", "by keyword"])
def test_the_body_gets_the_object_whose_key_was_passed(worker, note, task, named):
    task.delay(note=note.pk) if named else task.delay(note.pk)
    Note.objects.update(title="changed meanwhile")
    worker.drain()
    assert [type(one) for one in received] == [Note]
    assert (received[0].pk, received[0].title) == (note.pk, "changed meanwhile")


def test_a_key_that_says_of_one_model_only_that_it_is_meant_is_taken(worker, note):
    country = Country.objects.create(code="nl")
    either.delay("nl")
    either.delay(note.pk)
    with pytest.raises(InvalidArguments, match="a key of either"):
        either.delay("5")
    worker.drain()
    assert received == [country, note]


@pytest.mark.parametrize(
    ("task", "args", "kwargs"),
    [
        (several, lambda a, b: [[a, b]], {}),
        (each, lambda a, b: [a], lambda b: {"second": b}),
        (nested, lambda a, b: [[a, None], {"x": b}, a], {}),
    ],
)
def test_keys_in_lists_and_dicts_are_taken_for_objects(worker, task, args, kwargs):
    first, second = NoteFactory(), NoteFactory()
    for a, b in ((first.pk, second.pk), (first, second), (first.pk, second)):
        task.apply_async(args(a, b), kwargs(b) if kwargs else {})
    worker.drain()
    expected = [first, None, second, first] if task is nested else [first, second]
    assert received == [expected] * 3


@pytest.mark.parametrize("how", ["enqueue", "enqueue_many", "apply", "signature", "send_task", "beat", "text"])
def test_every_way_to_call_takes_a_key(worker, note, how):
    {
        "enqueue": lambda: one.enqueue(note.pk),
        "enqueue_many": lambda: one.enqueue_many([(note.pk,)]),
        "apply": lambda: one.apply([note.pk]),
        "signature": lambda: one.si(note.pk).delay(),
        "send_task": lambda: app.send_task(one.name, [note.pk]),
        "beat": lambda: app.send_task(one.name, **json.loads(f'{{"args": [], "kwargs": {{"note": {note.pk}}}}}')),
        "text": lambda: app.send_task(one.name, [str(note.pk)]),
    }[how]()
    worker.drain()
    assert received == [note]
    assert Operation.objects.get().subject == note


def test_the_subject_is_known_at_the_call_and_follows_its_policies(worker):
    page = PageFactory()
    operation = protects.enqueue(page.pk)
    assert operation.subject == page
    assert list(page.operations.pending()) == [operation]
    with pytest.raises(ObjectGone):
        protects.delay(page.pk + 1)
    assert Operation.objects.count() == 1


@pytest.mark.parametrize("sent", [False, True], ids=["call", "message"])
def test_the_object_is_known_to_compensations(worker, sent):
    page = PageFactory()
    app.send_task(fails.name, [page.pk]) if sent else fails.delay(page.pk)
    worker.drain()
    assert Effect.objects.get().key == page.title


def test_what_was_queued_when_the_parameter_was_a_number_runs_with_the_object(worker):
    page = PageFactory()
    operation = fails.enqueue(page)
    queued_as_before(operation, [page.pk])
    worker.take()
    worker.finish()
    operation.refresh_from_db()
    assert (operation.state, operation.subject, operation.on_delete) == (State.FAILED, page, "cancel")
    assert Effect.objects.get().key == page.title


def test_what_was_queued_with_a_key_that_can_be_none_ends_with_its_reason(worker):
    operation = protects.enqueue(PageFactory())
    queued_as_before(operation, ["first"])
    worker.take()
    worker.finish()
    operation.refresh_from_db()
    assert (operation.state, received) == (State.FAILED, [])
    assert operation.error.startswith("InvalidArguments: ")
    assert "'first' cannot be the primary key" in operation.error


def test_what_was_queued_with_the_key_of_what_is_gone_is_cancelled(worker):
    page = PageFactory()
    operation = protects.enqueue(page)
    queued_as_before(operation, [page.pk])
    page.delete()
    worker.take()
    worker.finish()
    operation.refresh_from_db()
    assert (operation.state, received) == (State.CANCELLED, [])


@pytest.mark.parametrize("value", ["first", None, 1.5, 2**70, [1], {"pk": 1}, True])
def test_a_message_whose_argument_can_be_no_object_is_a_failed_operation(worker, value):
    app.send_task(one.name, [value])
    worker.drain()
    operation = Operation.objects.get()
    assert (operation.state, received) == (State.FAILED, [])
    assert operation.error.startswith(f"InvalidArguments: {one.name}: The parameter 'note' takes")


BAD = [
    *(
        (one, value)
        for value in ("first", "1.0", "", None, 1.0, 2**70, "9" * 30, True, [1], (1, 2), {"pk": 1}, uuid.UUID(int=1))
    ),
    *((optional, value) for value in ("first", False)),
    *((several, value) for value in (5, None, [None], ["first"], "12", {"a": 1})),
    *((each, value) for value in ("first", None)),
    *((as_set, value) for value in (5, ["first"], {1, 2}, {"a": 1})),
]


@pytest.mark.parametrize(("task", "value"), BAD)
@pytest.mark.parametrize("how", ["delay", "enqueue", "apply"])
def test_what_can_be_no_object_is_refused_at_the_call(worker, task, value, how):
    with pytest.raises(InvalidArguments, match=f"{task.name}: The parameter 'notes?' takes"):
        task.apply([value]) if how == "apply" else getattr(task, how)(value)
    assert not Operation.objects.exists()


@pytest.mark.parametrize(
    "args",
    [
        *[
            (uuid.UUID(int=1), 5, 1),
            (5, "nl", 1),
            ("no uuid", "nl", 1),
            (None, "nl", 1),
            (uuid.UUID(int=1), "x" * 21, 1),
        ],
        *[(uuid.UUID(int=1), "n\x00", 1), (uuid.UUID(int=1), "n\ud800", 1), (uuid.UUID(int=1), "nl", "first")],
    ],
)
def test_a_key_of_another_type_or_too_long_is_refused(worker, args):
    with pytest.raises(InvalidArguments, match="cannot be the primary key of a"):
        described.delay(*args)
    assert not Operation.objects.exists()


def test_keys_of_every_kind_are_taken(worker):
    document, country = Document.objects.create(title="d"), Country.objects.create(code="nl")
    report = Report.objects.create(title="r")
    for key in (document.pk, str(document.pk), document.pk.hex, document):
        received.clear()
        described.delay(key, "nl", report.pk)
        worker.drain()
        assert received == [document, country, report]


def test_keys_in_sets_and_at_places_of_tuples_are_taken_for_objects_and_come_in_lists(worker, note):
    for passed in (note.pk, note):
        as_set.delay([passed])
        placed.delay((passed, note.pk), [(note.pk, passed), [1, None]])
    worker.drain()
    assert received == [[note], [note, note.pk, [note.pk, note], [1, None]]] * 2


def test_an_object_of_another_model_is_refused(worker, note):
    for other in (Country.objects.create(code="nl"), PageFactory()):
        with pytest.raises(InvalidArguments, match=r"The parameter 'note' takes .*: a testapp.* is none"):
            one.delay(other)
    with pytest.raises(InvalidArguments, match=r"a testapp.Note is none"):
        described.delay(Document.objects.create(title="d"), "nl", note)
    with pytest.raises(InvalidArguments, match=r"a testapp.Note is none"):
        any_watched.delay(note)
    assert not Operation.objects.exists()


def test_a_child_is_an_object_of_its_parents_model_and_a_proxy_is_the_same_one(worker, note):
    report = Report.objects.create(title="r")
    one.delay(report)
    by_default.delay(pinned=note)
    worker.drain()
    assert received == [report, note]
    assert [type(one) for one in received] == [Report, PinnedNote]


def test_any_child_of_an_abstract_model_is_taken_but_no_key(worker):
    page = PageFactory()
    any_watched.delay(page)
    with pytest.raises(InvalidArguments, match="does not say which"):
        any_watched.delay(page.pk)
    worker.drain()
    assert received == [page]


def test_a_number_stays_one_where_the_annotation_says_that_it_may_be(worker, note):
    loosely.delay(note.pk)
    loosely.delay(note)
    with pytest.raises(InvalidArguments, match=r"a testapp.Page is none"):
        loosely.delay(PageFactory())
    worker.drain()
    assert received == [note.pk, note]


def test_an_annotation_that_cannot_be_resolved_says_nothing(worker, note):
    unseen.delay(5)
    unseen.delay(note)
    worker.drain()
    assert received == [5, note]


def test_a_lazy_object_is_the_one_that_it_stands_for(worker, note):
    one.delay(SimpleLazyObject(lambda: note))
    worker.drain()
    assert received == [note]


def test_the_key_of_a_call_is_the_same_by_object_and_by_its_key(worker, note):
    first = once.enqueue(note)
    assert once.enqueue(note.pk) == first
    assert once.enqueue(str(note.pk), copies=1) == first
    app.send_task(once.name, [note.pk])
    worker.drain()
    assert received == [note]
    assert once.enqueue(NoteFactory().pk) != first


def test_a_key_function_gets_the_object(worker, note):
    first = once_per_title.enqueue(note.pk)
    assert first.key == note.title
    assert once_per_title.enqueue(note) == first
    with pytest.raises(ObjectGone):
        once_per_title.delay(note.pk + 1)


def test_a_retry_takes_a_key_too(worker, note):
    @safe_task(bind=True, retry_backoff=0.01)
    def moves_on(self, note: Note, to: int) -> None:
        received.append(note)
        if to:
            raise self.retry(args=(to, 0))

    other = NoteFactory()
    operation = moves_on.enqueue(note.pk, other.pk)
    worker.finish()
    assert received == [note, other]
    operation.refresh_from_db()
    assert operation.subject == other


def test_a_call_by_key_sends_no_statement_more_than_one_by_object(worker, note):
    with statements() as by_object:
        one.delay(note)
    with statements() as by_key:
        one.delay(note.pk)
    assert len(by_key) == len(by_object) == 1
    messages = worker.take()
    ran = []
    for message in messages:
        with statements() as found:
            worker.deliver(message)
        ran.append((len(found), len(about_operations(found))))
    assert ran[0] == ran[1]


def test_what_is_queued_by_key_is_published_again_as_it_was(worker, note):
    one.delay(note.pk)
    worker.take()
    worker.pass_time(61)
    sweeper.sweep()
    worker.drain()
    assert received == [note]


@pytest.mark.parametrize("pair", [[1], [1, 2, 3], 5, ["first", 1]])
def test_a_tuple_of_another_length_is_refused(worker, pair):
    with pytest.raises(InvalidArguments, match=f"{placed.name}: The parameter 'pair' takes"):
        placed.delay(pair, [])
    assert not Operation.objects.exists()
