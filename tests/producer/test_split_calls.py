"""What can be split, and what is refused before anything is written."""

import tracemalloc
import uuid

import pytest
from celery import shared_task
from django.contrib.auth.models import User
from django.db import connection, transaction

from django_task_safety import (
    DuplicateOperation,
    InvalidArguments,
    InvalidKey,
    PayloadTooLarge,
    idempotent_task,
    requested_by,
    safe_task,
    split,
)
from django_task_safety.models import Operation
from django_task_safety.producer import outbox
from tests.support.delivering import about_operations, statements
from tests.support.factories import ChapterFactory, FolderFactory, OrderFactory, PageFactory
from tests.testapp.models import Chapter, Document, Folder, Order, Page

State = Operation.State


@safe_task(title="Count {what}")
def count(pks: list[int], what: str = "rows") -> list[object]:
    return pks


@safe_task(title="Count {pks}")
def count_titled(pks: list[int]) -> None: ...


@safe_task
def count_in(folder: Folder, pks: list[int]) -> str:
    return f"{folder.name} {len(pks)}"


@safe_task
def count_pages(pks: list[Page]) -> list[str]:
    return [page.title for page in pks]


@safe_task
def has_no_pks(numbers: list[int]) -> None: ...


@safe_task(lock="lock")
def locks(folder: Folder, pks: list[int]) -> None: ...


@idempotent_task(key="folder")
def keyed_without(pks: list[int], folder: int) -> None: ...


@idempotent_task(key=lambda pks, folder: folder)
def keyed_by_function(pks: list[int], folder: int) -> None: ...


@idempotent_task(on_duplicate="raise")
def raises_twice(pks: list[int]) -> None: ...


@shared_task
def plain(pks: list[int]) -> None: ...


def chunks_of(queryset, size: int, task=count, **arguments) -> list[object]:
    """Split, and return the primary keys of each chunk, as its task will get them."""
    parent = split(queryset, size, task, **arguments)
    return [operation.size for operation in parent.children]


def results(worker, parent: Operation) -> list[object]:
    worker.drain()
    return [child.result for child in parent.children]


def test_the_chunks_are_in_the_order_of_the_primary_keys(worker):
    pks = sorted(order.pk for order in OrderFactory.create_batch(5))
    parent = split(Order.objects.order_by("-pk"), 2, count)
    assert results(worker, parent) == [pks[:2], pks[2:4], pks[4:]]


def test_a_size_beyond_the_number_of_rows_makes_one_chunk(worker):
    OrderFactory.create_batch(3)
    assert chunks_of(Order.objects.all(), 3) == [3]
    assert chunks_of(Order.objects.all(), 2**31 - 2) == [3]


def test_a_manager_is_taken_for_all_its_rows(worker):
    OrderFactory.create_batch(2)
    assert chunks_of(Order.objects, 5) == [2]


def test_rows_that_a_join_repeats_are_taken_once(worker):
    folder = FolderFactory()
    PageFactory.create_batch(3, folder=folder)
    assert chunks_of(Folder.objects.filter(pages__title__contains="Page"), 1) == [1]


@pytest.mark.parametrize("kind", ["sliced", "union", "values"])
def test_a_queryset_that_cannot_be_filtered_any_more_is_read_as_it_is(worker, kind):
    pks = [order.pk for order in OrderFactory.create_batch(5)]
    querysets = {
        "sliced": Order.objects.order_by("-pk")[:3],
        "union": Order.objects.filter(pk__lte=pks[0]).union(Order.objects.filter(pk__gte=pks[3])),
        "values": Order.objects.filter(pk__gte=pks[2]).values("number"),
    }
    found = {"sliced": pks[:1:-1], "union": [pks[0], *pks[3:]], "values": pks[2:]}
    parent = split(querysets[kind], 2, count)
    given = [pk for chunk in results(worker, parent) for pk in chunk]
    assert given == found[kind] if kind != "union" else sorted(given) == found[kind]


def test_primary_keys_of_other_types_arrive_as_they_are(worker):
    documents = {Document.objects.create(title=str(n)).pk for n in range(3)}
    parent = split(Document.objects.all(), 2, count)
    given = results(worker, parent)
    assert [len(chunk) for chunk in given] == [2, 1]
    assert {pk for chunk in given for pk in chunk} == documents
    assert all(isinstance(pk, uuid.UUID) for pk in given[0])


def test_the_rows_of_a_child_model_are_known_by_their_parents_key(worker):
    pks = sorted(chapter.pk for chapter in ChapterFactory.create_batch(3))
    assert results(worker, split(Chapter.objects.all(), 2, count)) == [pks[:2], pks[2:]]


def test_the_parent_has_a_title_that_fits_all_its_chunks(worker):
    OrderFactory.create_batch(2)
    assert split(Order.objects.all(), 1, count, what="orders").title == "Count orders"
    assert split(Order.objects.all(), 1, count).title == "Count rows"
    assert split(Order.objects.all(), 1, count_titled).title == "Count titled"


def test_the_parent_and_its_chunks_say_who_asked_for_them(worker):
    OrderFactory.create_batch(2)
    user = User.objects.create(username="ada")
    with requested_by(user):
        parent = split(Order.objects.all(), 1, count)
    assert {one.requested_by for one in (parent, *parent.children)} == {str(user.pk)}


def test_an_object_among_the_arguments_is_what_the_parent_and_the_chunks_are_about(worker):
    PageFactory.create_batch(2)
    folder = FolderFactory()
    parent = split(Page.objects.all(), 1, count_in, folder=folder.pk)
    assert {one.subject for one in (parent, *parent.children)} == {folder}
    assert results(worker, parent) == [f"{folder.name} 1"] * 2


def test_the_primary_keys_may_be_taken_for_objects(worker):
    titles = [page.title for page in PageFactory.create_batch(3)]
    parent = split(Page.objects.all(), 2, count_pages)
    assert parent.subject is None
    assert results(worker, parent) == [titles[:2], titles[2:]]


@pytest.mark.parametrize(
    ("queryset", "size", "task", "arguments", "error", "says"),
    [
        ([1, 2], 2, count, {}, InvalidArguments, "takes a queryset, not \\[1, 2\\]"),
        (Order, 2, count, {}, InvalidArguments, "takes a queryset"),
        (Order.objects.all(), 0, count, {}, InvalidArguments, "from 1, not 0"),
        (Order.objects.all(), True, count, {}, InvalidArguments, "from 1, not True"),
        (Order.objects.all(), 2.5, count, {}, InvalidArguments, "from 1, not 2.5"),
        (Order.objects.all(), 2, plain, {}, InvalidArguments, "takes a task of @safe_task"),
        (Order.objects.all(), 2, len, {}, InvalidArguments, "takes a task of @safe_task"),
        (Order.objects.all(), 2, has_no_pks, {}, InvalidArguments, "must have it"),
        (Order.objects.all(), 2, count, {"pks": [1]}, InvalidArguments, "must not give it"),
        (Order.objects.all(), 2, count, {"other": 1}, InvalidArguments, "other"),
        (Order.objects.none(), 2, count, {"other": 1}, InvalidArguments, "other"),
        (Order.objects.all(), 2, locks, {"folder": None}, InvalidArguments, "cannot be pending together"),
        (Order.objects.all(), 2, keyed_without, {"folder": 1}, InvalidKey, "must name 'pks'"),
        (Order.objects.all(), 2, keyed_by_function, {"folder": 1}, InvalidKey, "the same for several chunks"),
        (Order.objects.all(), 2, count, {"what": "x" * 70_000}, PayloadTooLarge, "70"),
    ],
)
def test_what_cannot_be_split_is_refused_and_nothing_is_written(worker, queryset, size, task, arguments, error, says):
    OrderFactory.create_batch(5)
    with pytest.raises(error, match=says):
        split(queryset, size, task, **arguments)
    assert not Operation.all_rows.exists()
    assert worker.take() == []


def test_a_duplicate_that_raises_leaves_nothing_of_the_others(worker):
    pks = sorted(order.pk for order in OrderFactory.create_batch(3))
    raises_twice.enqueue(pks=pks[2:])
    with pytest.raises(DuplicateOperation):
        split(Order.objects.all(), 2, raises_twice)
    assert Operation.all_rows.count() == 1


def test_a_split_in_a_callers_transaction_is_published_after_its_commit(worker):
    OrderFactory.create_batch(3)
    with transaction.atomic():
        parent = split(Order.objects.all(), 2, count)
        assert worker.take() == []
    assert {message.headers["id"] for message in worker.take()} == {str(child.pk) for child in parent.children}


def test_many_chunks_are_written_in_few_statements(worker):
    OrderFactory.create_batch(60)
    with transaction.atomic(), statements() as found:
        split(Order.objects.all(), 1, count)
    written = about_operations(found)
    assert len(written) <= 2 + 60 // 10, written


def make_orders(digits_of_number: int) -> None:
    digits = " UNION ALL ".join(f"SELECT {digit} AS d" for digit in range(10))
    number = " + ".join(f"t{place}.d * {10**place}" for place in range(digits_of_number))
    tables = ", ".join(f"({digits}) AS t{place}" for place in range(digits_of_number))
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO testapp_order (number, amount, charged) SELECT {number}, 1, 0 FROM {tables}")


@pytest.mark.live
@pytest.mark.timeout(600)
def test_a_million_rows_are_split_in_bounded_memory(worker, monkeypatch, large):
    digits = 6 if large else 5
    make_orders(digits)
    published = []
    monkeypatch.setattr(outbox, "publish_rows", lambda rows: published.append(len(rows)))
    # What is loaded once, whatever the number of rows.
    split(Order.objects.filter(number__lt=50), 10, count)
    tracemalloc.start()
    parent = split(Order.objects.all(), 1_000, count)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"peak {peak / 2**20:.1f} MiB")
    chunks = 10 ** (digits - 3)
    assert (parent.size, parent.children.count(), sum(published)) == (10**digits, chunks, chunks + 5)
    assert peak < 30 * 2**20
