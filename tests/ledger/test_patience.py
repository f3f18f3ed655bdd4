"""How long our own statements wait for a lock, and what a caller's transaction keeps of that."""

import pytest
from django.db import DatabaseError, OperationalError, connection, transaction

from django_task_safety.ledger import table
from django_task_safety.ledger.patience import patience
from django_task_safety.models import Operation
from tests.support.racing import open_transaction
from tests.testapp.tasks import record

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("sqlite" in connection.vendor, reason="SQLite has one writer, and no locks of rows"),
]


def write() -> int:
    return Operation.objects.update(queue="written")


def locked() -> list[Operation]:
    return list(Operation.objects.select_for_update())


def lock_timeout() -> str:
    with connection.cursor() as cursor:
        postgresql = connection.vendor == "postgresql"
        cursor.execute("SHOW lock_timeout" if postgresql else "SELECT @@innodb_lock_wait_timeout")
        return str(cursor.fetchone()[0])


def write_and_fail() -> None:
    assert write() == 1
    raise ValueError("no")


@pytest.fixture
def held(transactional_db):
    record.enqueue("a")
    with open_transaction(lambda: table.locked(table.rows())):
        yield


def test_a_statement_gives_up_alone_and_in_a_transaction(held):
    for begin in (transaction.atomic, patience):
        with pytest.raises(OperationalError) as caught, begin(), patience():
            write()
        assert table.is_lock_timeout(caught.value)
    with patience(), transaction.atomic(), pytest.raises(OperationalError):
        locked()
    assert Operation.objects.exclude(queue="written").count() == 1


def test_who_gives_up_may_go_on(held):
    with pytest.raises(OperationalError), patience():
        write()
    with patience():
        assert Operation.objects.count() == 1


def test_any_other_error_is_the_callers(transactional_db):
    def fail() -> None:
        raise OperationalError("no")

    with pytest.raises(OperationalError, match="no"), patience():
        fail()


def test_the_rest_of_a_callers_transaction_waits_as_long_as_before(transactional_db):
    record.enqueue("a")
    before = lock_timeout()
    with transaction.atomic():
        with patience():
            assert write() == 1
        assert lock_timeout() == before
        with pytest.raises(ValueError, match="no"), patience():
            write_and_fail()
        assert lock_timeout() == before
        with pytest.raises(DatabaseError), patience(), transaction.atomic():
            connection.cursor().execute("SELECT nothing FROM nowhere")
        assert lock_timeout() == before
    assert lock_timeout() == before
    assert Operation.objects.get().queue == "written"
