"""The servers the other tests stand on: usable, and usable again after a kill."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import amqp
import pytest
import redis
from django.db.utils import ConnectionHandler
from pytest_django import DjangoDbBlocker

from tests.support.postgresql import OnSmallDisk, Replicated
from tests.support.servers import (
    Database,
    MariaDB,
    PostgreSQL,
    RabbitMQ,
    Redis,
    Server,
    descendants,
    living,
)

S = TypeVar("S", bound=Server)
pytestmark = pytest.mark.live


def started(server: S) -> Iterator[S]:
    if reason := server.missing():
        pytest.skip(reason)
    with server:
        yield server
    assert not server.directory.exists()


@pytest.fixture(params=[PostgreSQL, MariaDB])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    yield from started(request.param())


@pytest.fixture
def rabbitmq() -> Iterator[RabbitMQ]:
    yield from started(RabbitMQ())


@pytest.fixture(params=[True, False], ids=["durable", "volatile"])
def redis_store(request: pytest.FixtureRequest) -> Iterator[Redis]:
    yield from started(Redis(durable=request.param))


def family(server: Server) -> set[int]:
    roots = {process.pid for process in server._processes}
    return roots.union(*map(descendants, roots))


def execute(server: Database, *statements: str) -> tuple[object, ...] | None:
    connection = ConnectionHandler({"default": server.django_settings()})["default"]
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchone() if cursor.description else None
    finally:
        connection.close()


def test_a_killed_database_server_keeps_what_was_committed(
    database: Database, django_db_blocker: DjangoDbBlocker
) -> None:
    with django_db_blocker.unblock():
        assert execute(database, "SELECT 1") == (1,)
        execute(database, "CREATE TABLE kept (number integer)", "INSERT INTO kept VALUES (7)")
        database.kill()
        with pytest.raises(Exception, match=r"(?i)connect"):
            execute(database, "SELECT 1")
        database.restart()
        assert execute(database, "SELECT number FROM kept") == (7,)


def test_a_killed_server_leaves_no_process(database: Database) -> None:
    processes = family(database)
    # Not all of them: a server's helpers come and go.
    assert processes & living().keys()
    database.kill()
    assert processes.isdisjoint(living())


def test_a_standby_has_what_was_committed_when_its_primary_is_killed(django_db_blocker: DjangoDbBlocker) -> None:
    for server in started(Replicated()):
        with django_db_blocker.unblock():
            execute(server, "CREATE TABLE kept (number integer)", "INSERT INTO kept VALUES (7)")
            server.fail_over()
            assert execute(server, "SELECT number FROM kept") == (7,)
            assert execute(server, "INSERT INTO kept VALUES (8)", "SELECT count(*) FROM kept") == (2,)


def test_a_full_disk_takes_nothing_until_there_is_room(django_db_blocker: DjangoDbBlocker) -> None:
    large = "INSERT INTO kept SELECT n, repeat('x', 1000) FROM generate_series(1, 30000) n"
    for server in started(OnSmallDisk()):
        with django_db_blocker.unblock():
            execute(server, "CREATE TABLE kept (number integer, text text)", "INSERT INTO kept VALUES (7)")
            server.fill()
            with pytest.raises(Exception, match=r"No space left|server closed|in recovery|refused"):
                execute(server, large)
            server.make_room()
            execute(server, large)
            assert execute(server, "SELECT count(*) FROM kept") == (30_001,)


def test_redis_keeps_data_only_when_durable(redis_store: Redis) -> None:
    with redis.Redis.from_url(redis_store.url) as client:
        client.set("key", "value")
        redis_store.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        redis_store.restart()
        assert client.get("key") == (b"value" if redis_store.durable else None)


def test_rabbitmq_keeps_persistent_messages(rabbitmq: RabbitMQ) -> None:
    address = f"127.0.0.1:{rabbitmq.port}"
    with amqp.Connection(address) as connection, connection.channel() as channel:
        channel.queue_declare("kept", durable=True, auto_delete=False)
        channel.confirm_select()
        channel.basic_publish_confirm(amqp.Message("hello", delivery_mode=2), routing_key="kept")
    rabbitmq.sync()
    processes = family(rabbitmq)
    rabbitmq.kill()
    assert processes.isdisjoint(living())
    rabbitmq.restart()
    with amqp.Connection(address) as connection, connection.channel() as channel:
        message = channel.basic_get("kept", no_ack=True)
        assert message is not None
        assert message.body == "hello"


def test_a_running_server_restarts(redis_store: Redis) -> None:
    port, directory = redis_store.port, redis_store.directory
    redis_store.restart()
    assert (redis_store.port, redis_store.directory) == (port, directory)


def test_a_missing_server_program_is_a_reason_to_skip() -> None:
    class Absent(Redis):
        programs = ("no-such-server",)

    assert Absent.missing() == "Absent is not installed (no no-such-server)"


def test_stopping_a_server_that_was_never_started_does_nothing() -> None:
    server = Redis()
    server.stop()
    assert not server.directory.exists()


def test_a_server_that_fails_to_start_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := Redis.missing():
        pytest.skip(reason)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Redis() as first:
        second = Redis()
        second.port = first.port
        with pytest.raises(RuntimeError, match="ended"):
            second.start()
        assert list(tmp_path.iterdir()) == [first.directory]
