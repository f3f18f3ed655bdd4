import json
import logging
import os
import signal
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.db.backends.signals import connection_created
from django.db.models.signals import post_migrate
from django.db.utils import ConnectionHandler
from pytest_django import DjangoDbBlocker

from django_task_safety import signals
from tests.support.delivering import LocalWorker, local_worker
from tests.support.servers import Database, MariaDB, PostgreSQL, RabbitMQ, Redis, Server
from tests.support.sessions import SessionWatch

pytest.register_assert_rewrite("tests.support.deleting", "tests.support.racing")

S = TypeVar("S", bound=Server)

DATABASE_SERVERS: dict[str, type[Database]] = {"postgresql": PostgreSQL, "mariadb": MariaDB}
DATABASE_SERVER = pytest.StashKey[Database | None]()

#: Why a test with the mark ``live`` is skipped.
NEEDS_LIVE = "real workers and servers, a rival at every point, random histories: minutes more, with --live"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--db", choices=["sqlite", *DATABASE_SERVERS], default="sqlite", help="the database to run the tests on"
    )
    parser.addoption("--live", action="store_true", help="also run the tests that take minutes")
    parser.addoption("--large", action="store_true", help="let those about many rows have as many as they are about")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run whole folders in one process for each processor; a file or a test alone starts sooner in this one."""
    if "PYTEST_XDIST_WORKER" in os.environ:  # one of those processes
        return
    if getattr(config.option, "numprocesses", 0) is None and all(map(os.path.isdir, config.args)):
        config.option.numprocesses = "auto"
        config.option.dist = "worksteal"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("live") and not item.config.getoption("live"):
        pytest.skip(NEEDS_LIVE)


def pytest_configure(config: pytest.Config) -> None:
    # So that being terminated still stops the servers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server_class = DATABASE_SERVERS.get(config.getoption("db"))
    server = server_class() if server_class else None
    config.stash[DATABASE_SERVER] = server
    # Now rather than with the first test: modules may ask for the vendor while they are collected.
    if server and not server.missing():
        use_database(server)


def pytest_report_header(config: pytest.Config) -> str:
    return f"database: {config.getoption('db')}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [report for report in terminalreporter.stats.get("skipped", ()) if NEEDS_LIVE in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} skipped: {NEEDS_LIVE}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was logged may hold lone surrogates, which no report of a parallel run could carry."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode("utf-8")) for name, text in report.sections
    ]
    return report


def use_database(server: Database) -> None:
    configured = ConnectionHandler({"default": server.django_settings()}).settings["default"]
    connections.settings["default"].clear()
    connections.settings["default"].update(configured)
    with suppress(AttributeError):  # it has not been used yet
        del connections["default"]


def running(server: S) -> Iterator[S]:
    if reason := server.missing():
        pytest.skip(reason)
    with server:
        yield server


@pytest.fixture(scope="session")
def large(pytestconfig: pytest.Config) -> bool:
    """Whether a test that is about very many rows has so many; else it has fewer."""
    return bool(pytestconfig.getoption("large"))


@pytest.fixture(scope="session")
def database_server(pytestconfig: pytest.Config) -> Iterator[Database | None]:
    """The server of the chosen database; None with SQLite."""
    server = pytestconfig.stash[DATABASE_SERVER]
    if server:
        yield from running(server)
    else:
        yield None


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    yield from running(Redis())


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitMQ]:
    yield from running(RabbitMQ())


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None, database_server: Database | None
) -> Iterator[None]:
    yield
    if database_server is None:
        remove_sqlite_files(Path(connections["default"].settings_dict["TEST"]["NAME"]))


def remove_sqlite_files(database: Path) -> None:
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink(missing_ok=True)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Tell the processes that tests start where the test database is, and spare the tests its permissions."""
    # They are made anew for every model after each flush, which takes longer than most tests.
    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
    with django_db_blocker.unblock():
        call_command("flush", verbosity=0, interactive=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASK_SAFETY_TEST_DATABASE", json.dumps(connections["default"].settings_dict))
        yield


@pytest.fixture(autouse=True, scope="session")
def session_watch() -> Iterator[SessionWatch]:
    """Look at all that is sent to a database by this process."""
    watch = SessionWatch()
    connection_created.connect(watch.connected)
    yield watch
    connection_created.disconnect(watch.connected)


@pytest.fixture(autouse=True)
def _sessions_are_left_as_they_were(session_watch: SessionWatch) -> Iterator[None]:
    """The package's statements change nothing that outlives their transaction: poolers give the session to others."""
    yield
    assert session_watch.take() == []


@pytest.fixture(autouse=True)
def _nobody_listens_who_did_not_before() -> Iterator[None]:
    """What is done and sent depends on who hears of it: a receiver or a log level that stays changes other tests."""
    before = _listening()
    yield
    assert _listening() == before


def _listening() -> dict[str, object]:
    # A backend for Django's Tasks listens from the first use on.
    for ours in signals.BY_NAME.values():
        ours.disconnect(dispatch_uid="django_task_safety.backends")
    logged = logging.getLogger("django_task_safety").getEffectiveLevel()
    return {"log": logged, **{name: len(signal.receivers) for name, signal in signals.BY_NAME.items()}}


@pytest.fixture
def worker(transactional_db: None) -> LocalWorker:
    """A worker in this process, to which the test delivers messages."""
    return local_worker()


@pytest.fixture
def in_thread() -> Iterator[Callable[[Callable[[], Any]], "Future[Any]"]]:
    """Run a call in another thread, on a connection of its own, and return its future."""
    with ThreadPoolExecutor() as pool:

        def run(call):
            try:
                return call()
            except Exception as exc:
                return exc
            finally:
                connection.close()

        yield lambda call: pool.submit(run, call)
