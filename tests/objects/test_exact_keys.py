"""Primary keys that a collation may take for equal are different objects, on every database."""

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import Count

from django_task_safety import ObjectLocked, lock_all
from django_task_safety.models import Operation
from django_task_safety.objects import triggers
from tests.support.guards import installed, raw
from tests.support.operations import state
from tests.testapp import guarded_tasks as tasks
from tests.testapp.models import Word

State = Operation.State
pytestmark = pytest.mark.django_db(transaction=True)

KEYS = ["abc", "ABC", "ábc", "abc "]


@pytest.fixture
def words():
    return [Word.objects.create(text=key) for key in KEYS]


@pytest.fixture(params=range(len(KEYS)), ids=map(repr, KEYS))
def parted(request, words):
    """One of the words, and the others."""
    return words[request.param], [word for word in words if word is not words[request.param]]


@pytest.fixture
def guarded(transactional_db):
    with installed("Word"):
        yield


DELETES = {
    "instance": lambda word: Word.objects.get(text=word.text).delete(),
    "queryset": lambda word: Word.objects.filter(text=word.text).delete(),
    "trigger": raw,
}


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("delete", DELETES.values(), ids=DELETES)
def test_deleting_one_of_several_objects_with_nearly_equal_keys_cancels_its_own_operations_alone(parted, delete):
    word, others = parted
    mine, kept = tasks.cancelled_with.enqueue(word), [tasks.cancelled_with.enqueue(one) for one in others]
    protecting = [tasks.protects.enqueue(one) for one in others]
    delete(word)
    assert state(mine) == State.CANCELLED
    assert {state(one) for one in (*kept, *protecting)} == {State.QUEUED}
    assert Word.objects.count() == len(others)


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("delete", DELETES.values(), ids=DELETES)
def test_protecting_one_of_several_objects_with_nearly_equal_keys_protects_it_alone(parted, delete):
    word, others = parted
    tasks.protects.enqueue(word)
    with pytest.raises(IntegrityError), transaction.atomic():
        delete(word)
    for one in others:
        delete(one)
    assert Word.objects.get() == word


def test_objects_with_nearly_equal_keys_have_their_own_operations(words, django_assert_num_queries):
    operations = {word.text: [tasks.cancelled_with.enqueue(word)] for word in words}
    for word in words:
        assert list(word.operations.all()) == operations[word.text]
    with django_assert_num_queries(2):
        found = Word.objects.prefetch_related("operations")
        assert {word.text: list(word.operations.all()) for word in found} == operations
    assert set(Word.objects.annotate(n=Count("operations")).values_list("text", "n")) == {(key, 1) for key in KEYS}
    (one,) = operations["abc"]
    one.cancel()
    assert Word.objects.filter(operations__state=State.CANCELLED).get() == words[0]
    assert set(Word.objects.exclude(operations__state=State.CANCELLED)) == set(words[1:])
    assert Word.objects.filter(operations=one).get() == words[0]


def test_objects_with_nearly_equal_keys_have_their_own_locks(words):
    with words[0].lock("abc"):
        assert [word.is_locked() for word in words] == [True, False, False, False]
        assert [words[0].is_locked(name) for name in KEYS] == [True, False, False, False]
        with pytest.raises(ObjectLocked, match=r"testapp\.word abc"):
            words[0].lock("abc").acquire()
    with lock_all(words) as held:
        assert len(held) == 4


@pytest.fixture
def many(words):
    words += Word.objects.bulk_create([Word(text=str(number)) for number in range(300)])
    tasks.cancelled_with.enqueue_many([(word, number) for word in words for number in range(3)])
    with connection.cursor() as cursor:
        cursor.execute(
            {"mysql": "ANALYZE TABLE {}", "sqlite": "ANALYZE {}", "postgresql": "VACUUM ANALYZE {}"}[
                connection.vendor
            ].format(Operation._meta.db_table)
        )
    return words


def plan(sql, params=()):
    explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{explain} {sql}", params)
        rows = cursor.fetchall()
        names = [column[0] for column in cursor.description]
    if connection.vendor == "mysql":
        return " ".join(str(row[names.index("key")]) for row in rows)
    return " ".join(map(str, rows))


@pytest.mark.usefixtures("many")
def test_the_index_of_subjects_finds_the_operations_of_an_object():
    joined = Word.objects.filter(text="abc").annotate(n=Count("operations")).query
    for found in (Word(text="abc"), Word(text="ABC")):
        found._state.adding = False
        pending = found.operations.pending().order_by().query
        assert "task_safety_subject" in plan(*pending.sql_with_params()), pending
    assert "task_safety_subject" in plan(*joined.sql_with_params()), joined


@pytest.mark.usefixtures("many")
@pytest.mark.skipif(connection.vendor != "mysql", reason="there its comparison says which collation to use")
def test_the_index_of_subjects_serves_the_trigger():
    text = triggers._mysql_text(connection).format("'abc'")
    sql = f"SELECT * FROM {Operation._meta.db_table} WHERE subject_label = 'testapp.word' AND subject_id = {text}"
    assert "task_safety_subject" in plan(sql)
