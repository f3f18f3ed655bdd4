"""Each query of the protocol has its index, and a row is in those only in which it can be found."""

import pytest
from django.db import IntegrityError, connection, transaction

from django_task_safety import ids
from django_task_safety.models import Operation
from django_task_safety.values.clock import Now
from tests.testapp.models import Note
from tests.testapp.tasks import charge, copy_note, record

pytestmark = pytest.mark.django_db

QUERIES = {
    "task_safety_key": lambda: Operation.all_rows.filter(key_digest="a"),
    "task_safety_lock_slot": lambda: Operation.all_rows.filter(lock_slot="a"),
    "task_safety_subject": lambda: Operation.all_rows.filter(subject_label="a.b", subject_id="1").pending(),
    "task_safety_newest": lambda: Operation.all_rows.order_by("-created_at", "-id")[:20],
    "task_safety_unsettled": lambda: Operation.all_rows.filter(state="failed").order_by("-created_at", "-id")[:20],
    "task_safety_chunks": lambda: Operation.all_rows.filter(parent_id=ids.new()).pending(),
    "due_at": lambda: Operation.all_rows.filter(due_at__lte=Now()).order_by("due_at"),
}
#: A row is in these whatever it is about.
LISTS = {"task_safety_newest", "task_safety_unsettled"}


@pytest.mark.parametrize("index", QUERIES)
def test_each_query_finds_its_index(index):
    if connection.vendor == "mysql":
        pytest.skip("its planner reads a small table whatever it is told")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
    assert index in QUERIES[index]().only("pk").explain()


def test_a_row_is_not_in_the_indexes_in_which_nobody_looks_for_it(transactional_db):
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL says how large an index is")
    note = Note.objects.create(title="a")
    made = {
        "nothing to look for": lambda n: record.enqueue(str(n)),
        "task_safety_key": charge.enqueue,
        "task_safety_subject": lambda n: copy_note.enqueue(note),
    }
    for index, make in made.items():
        before = index_pages()
        for n in range(300):
            make(n)
        grown = {name for name, pages in index_pages().items() if pages > before[name]}
        assert {name for name in grown if name.startswith("task_safety")} - LISTS == {index} & before.keys()


def test_what_succeeds_leaves_the_index_of_the_unsettled(transactional_db):
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL has it without them")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_get_expr(indpred, indrelid) FROM pg_index WHERE indexrelid = 'task_safety_unsettled'::regclass"
        )
        assert "succeeded" in cursor.fetchone()[0]


def index_pages() -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT indexrelname, pg_relation_size(indexrelid) / 8192 FROM pg_stat_user_indexes")
        return dict(cursor.fetchall())


@pytest.mark.parametrize("column", ["key_digest", "lock_slot"])
def test_a_value_is_unique_on_every_database_and_its_absence_is_not(column):
    first, second, third, fourth = (record.enqueue(name) for name in "abcd")
    Operation.objects.filter(pk=first.pk).update(**{column: "x"})
    with pytest.raises(IntegrityError), transaction.atomic():
        Operation.objects.filter(pk=second.pk).update(**{column: "x"})
    assert Operation.objects.filter(**{column: None}, pk__in=[second.pk, third.pk, fourth.pk]).count() == 3
