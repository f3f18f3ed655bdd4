"""A MariaDB server that rolls back the whole transaction when a statement waits too long for a lock."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.transaction import TransactionManagementError
from django.db.utils import ConnectionHandler

from django_task_safety import TransactionRolledBack, idempotent_task
from django_task_safety.models import Operation
from tests.support.servers import MariaDB
from tests.testapp.models import Effect, Vault

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif("config.getoption('db') != 'mariadb'", reason="the setting is InnoDB's"),
]


@idempotent_task(key="key")
def once(key: str) -> None: ...


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDB]:
    """The server, whose lock waits are short where nobody says how long they are to be."""
    if reason := MariaDB.missing():
        pytest.skip(reason)
    with MariaDB("--innodb-rollback-on-timeout", "--innodb-lock-wait-timeout=1") as server:
        yield server


@pytest.fixture
def on_server(server, transactional_db, monkeypatch) -> Iterator[None]:
    """Make it this test's default database."""
    settings = ConnectionHandler({"default": server.django_settings()}).settings["default"]
    connection.close()
    for name, value in settings.items():
        monkeypatch.setitem(connections.settings["default"], name, value)
    call_command("migrate", run_syncdb=True, verbosity=0)
    call_command("flush", verbosity=0, interactive=False)
    yield
    connection.close()


@pytest.fixture
def holding(on_server: None, in_thread: Callable[..., Any]) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Do something in another transaction, which is open until the end of the test."""
    done, end = threading.Event(), threading.Event()

    def hold(what: Callable[[], object]) -> None:
        with transaction.atomic():
            what()
            done.set()
            assert end.wait(60)

    def begin(what: Callable[[], object]) -> None:
        held.append(in_thread(lambda: hold(what)))
        assert done.wait(30)

    held: list[Any] = []
    yield begin
    end.set()
    assert [one.result() for one in held] == [None]


def take_lock(vault: Vault) -> None:
    with vault.lock("edit"):
        """Held."""


@pytest.mark.parametrize("what", ["key", "lock"])
def test_a_call_that_meets_an_uncommitted_one_does_not_go_on_in_a_transaction_that_is_gone(holding, what):
    vault = Vault.objects.create()
    call = (lambda: once.enqueue("a")) if what == "key" else (lambda: take_lock(vault))
    holding(call)
    with transaction.atomic():
        Effect.objects.create(name="mine")
        with pytest.raises(TransactionRolledBack, match="innodb_rollback_on_timeout"):
            call()
        with pytest.raises(TransactionManagementError):
            Effect.objects.create(name="without the first")
    assert Effect.objects.count() == 0


def test_outside_a_transaction_nothing_is_lost_and_the_call_waits(holding):
    holding(lambda: once.enqueue("a"))
    Effect.objects.create(name="mine")
    # It waits as long as the server lets it, and says so.
    with pytest.raises(Exception, match="1205"):
        once.enqueue("a")
    assert Effect.objects.get().name == "mine"


def test_where_nobody_holds_the_key_the_transaction_goes_on(on_server):
    once.enqueue("a")
    with transaction.atomic():
        Effect.objects.create(name="mine")
        once.enqueue("a")
        once.enqueue("b")
    assert (Effect.objects.count(), Operation.objects.count()) == (1, 2)
