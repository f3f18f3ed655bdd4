"""Checks of the operations' database, and of what else the project has."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core import checks
from django.db import DatabaseError, connections, router

from django_task_safety.checks.findings import CannotTell, Finding, about, error, warning
from django_task_safety.checks.project import Project
from django_task_safety.conf import load
from django_task_safety.errors import InvalidSetting

#: The oldest versions that have what the protocol needs.
_OLDEST = {"postgresql": (13,), "mariadb": (10, 5), "mysql": (8, 0, 1), "sqlite": (3, 24)}
#: Packages whose connections follow the tenant of the moment, and what those of others offer to change it.
_TENANTS_PACKAGES = {"django_tenants", "tenant_schemas", "django_pgschemas"}
_CHANGES_TENANT = ("set_schema", "set_tenant")
_PGBOUNCER = "6432"
_GREENLETS = ("gevent", "eventlet")


def check_database(databases: Any = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """The operations' database can do it (E003), at an isolation level that fits (W002)."""
    try:
        alias = load(getattr(settings, "TASK_SAFETY", {})).DATABASE
    except InvalidSetting:
        return []
    if not databases or alias not in databases:
        return []
    connection = connections[alias]
    try:
        oldest = _OLDEST.get("mariadb" if getattr(connection, "mysql_is_mariadb", False) else connection.vendor)
        version = connection.get_database_version()
        if oldest is not None and version >= oldest and connection.features.supports_transactions:
            return list(_check_isolation(connection))
    except DatabaseError:
        return []
    return [
        error(
            f"The database {alias!r} ({connection.display_name} {'.'.join(map(str, version))}) cannot hold operations.",
            "Use PostgreSQL 13, MariaDB 10.5, MySQL 8 (InnoDB) or SQLite 3.24, or a newer one, and name it in "
            "TASK_SAFETY['DATABASE'].",
            "task_safety.E003",
        )
    ]


def _check_isolation(connection: Any) -> Iterator[checks.CheckMessage]:
    level = getattr(connection, "isolation_level", "")
    if level is None and connection.vendor == "mysql":
        level = _of_the_server(connection)
    # PostgreSQL's is an enumeration, MySQL's a text.
    level = str(getattr(level, "name", level)).lower().replace("_", " ").replace("-", " ")
    if "repeatable" in level or "serializable" in level:
        yield warning(
            f"The database {connection.alias!r} uses an isolation level above READ COMMITTED: an attempt that lasts "
            "longer than a third of LEASE cannot commit, since its lease was renewed meanwhile.",
            "Use READ COMMITTED for this database, and lock rows where a task needs more; or raise LEASE above "
            "three times the longest task, and report no progress in atomic ones.",
            "task_safety.W002",
        )


def _of_the_server(connection: Any) -> str:
    """Return the level that a server gives who asks for none."""
    variable = "tx_isolation" if connection.mysql_is_mariadb else "transaction_isolation"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT @@{variable}")
        return str(cursor.fetchone()[0])


@about("task_safety.W010")
def check_connections(project: Project) -> Iterator[Finding]:
    """Tasks do not open a connection each to a database for which that takes long."""
    connection = project.database
    database = connection.settings_dict
    if connection.vendor == "sqlite" or database["CONN_MAX_AGE"] != 0 or database["OPTIONS"].get("pool"):
        return
    yield warning(
        f"CONN_MAX_AGE of the database {connection.alias!r} is 0: each task opens a connection of its own, which "
        "can cost more than the task.",
        "Set it to 600, say, in the settings of the workers, and the connection outlives a safe task in the "
        "pools prefork, threads and solo. Silence this where tasks run in greenlets, or where it is what you want.",
        "task_safety.W010",
    )


@about("task_safety.E007")
def check_schemas(project: Project) -> Iterator[Finding]:
    """No database keeps a schema for each tenant."""
    for connection in connections.all():
        bases = {base.__module__.partition(".")[0] for base in type(connection).__mro__}
        if bases & _TENANTS_PACKAGES or any(hasattr(connection, name) for name in _CHANGES_TENANT):
            yield error(
                f"The database {connection.alias!r} has a schema for each tenant, of which operations know nothing: "
                "objects with the same primary key in two schemas are one to keys, locks and deletes, and workers look "
                "for lost work in one schema only.",
                "Use plain Celery tasks for what belongs to a tenant, or a database for each tenant. Silence this "
                "only where no safe task has a tenant's object or number in its arguments or key.",
                "task_safety.E007",
            )


@about("task_safety.E010")
def check_router(project: Project) -> Iterator[Finding]:
    """`migrate` makes the operations' table where they are kept."""
    alias = project.conf.DATABASE
    if not router.allow_migrate(alias, "django_task_safety", model_name="operation"):
        yield error(
            f"A database router keeps the tables of django_task_safety out of {alias!r}, where operations are kept.",
            f"Let allow_migrate({alias!r}, 'django_task_safety') answer True, or change TASK_SAFETY['DATABASE'].",
            "task_safety.E010",
        )


@about("task_safety.E011")
def check_autocommit(project: Project) -> Iterator[Finding]:
    """What is written outside of a block is committed."""
    connection = project.database
    if not connection.settings_dict["AUTOCOMMIT"]:
        yield error(
            f"AUTOCOMMIT of the database {connection.alias!r} is off: what workers write about leases and outcomes is "
            "not committed.",
            "Leave AUTOCOMMIT on, as Django has it.",
            "task_safety.E011",
        )


@about("task_safety.W035")
def check_sqlite(project: Project) -> Iterator[Finding]:
    """Transactions of SQLite wait for each other instead of failing."""
    connection = project.database
    mode = str(connection.settings_dict["OPTIONS"].get("transaction_mode", "")).upper()
    if connection.vendor == "sqlite" and not _in_memory(connection) and mode not in ("IMMEDIATE", "EXCLUSIVE"):
        yield warning(
            f"Transactions of the database {connection.alias!r} begin by reading, and fail at once ('database is "
            "locked') when another process writes meanwhile.",
            'Give it OPTIONS = {"transaction_mode": "IMMEDIATE", "timeout": 20}.',
            "task_safety.W035",
        )


@about("task_safety.W036")
def check_sqlite_in_production(project: Project) -> Iterator[Finding]:
    """In production, readers of SQLite do not wait for writers (with ``--deploy``)."""
    connection = project.database
    options = connection.settings_dict["OPTIONS"]
    if connection.vendor != "sqlite" or _in_memory(connection):
        return
    lacks = [] if "wal" in str(options.get("init_command", "")).lower() else ["journal_mode=WAL in init_command"]
    lacks += [] if options.get("timeout", 5) >= 10 else ["a timeout of 20"]
    if lacks:
        yield warning(
            f"The database {connection.alias!r} is SQLite without {' and '.join(lacks)}: web processes and workers "
            "fail while one of them writes.",
            "Add it to OPTIONS, as in the guide to deployment, or use a database with a server.",
            "task_safety.W036",
        )


def _in_memory(connection: Any) -> bool:
    name = str(connection.settings_dict["NAME"])
    return ":memory:" in name or "mode=memory" in name


@about("task_safety.W037")
def check_connect_timeout(project: Project) -> Iterator[Finding]:
    """A worker that cannot connect at once still renews its leases in time."""
    timeout, lease = project.database.settings_dict["OPTIONS"].get("connect_timeout"), project.conf.LEASE
    if timeout is not None and float(timeout) >= lease * 2 / 3:
        yield warning(
            f"connect_timeout of the database {project.conf.DATABASE!r} ({float(timeout):g} s) leaves no time to renew "
            f"a lease of {lease:g} s by another try: work is taken for lost, and begins anew.",
            f"Let connect_timeout be below {lease / 3:g} s, or raise TASK_SAFETY['LEASE'].",
            "task_safety.W037",
        )


@about("task_safety.W038")
def check_atomic_requests(project: Project) -> Iterator[Finding]:
    """A request's transaction, where there is one, is that of its operations."""
    alias = project.conf.DATABASE
    others = [one.alias for one in connections.all() if one.alias != alias and one.settings_dict["ATOMIC_REQUESTS"]]
    if others and not project.database.settings_dict["ATOMIC_REQUESTS"]:
        yield warning(
            f"ATOMIC_REQUESTS is on for {', '.join(map(repr, others))}, but not for {alias!r}, where operations are "
            "kept: what a request enqueues stays when the request is rolled back.",
            f"Set ATOMIC_REQUESTS for {alias!r} as well. Silence this where views enqueue in a block on it.",
            "task_safety.W038",
        )


@about("task_safety.W039")
def check_pooler(project: Project) -> Iterator[Finding]:
    """A pooler of transactions is known as one."""
    database = project.database.settings_dict
    if str(database.get("PORT", "")) == _PGBOUNCER and not database.get("DISABLE_SERVER_SIDE_CURSORS"):
        why = (
            f"whether behind port {_PGBOUNCER} there is a PgBouncer with pool_mode = transaction, which needs "
            "DISABLE_SERVER_SIDE_CURSORS"
        )
        yield CannotTell(("task_safety.W039",), why)


@about("task_safety.W040")
def check_greenlets(project: Project) -> Iterator[Finding]:
    """In a pool of greenlets, the database's driver lets others run while it waits."""
    pools = {pool for app in project.apps if (pool := str(app.conf.worker_pool)) in _GREENLETS}
    drivers: Any = project.database
    driver = getattr(drivers.Database, "__name__", "")
    if pools and (project.database.vendor == "sqlite" or driver == "MySQLdb"):
        yield warning(
            f"Workers use the pool {' and '.join(sorted(pools))}, in which {driver} stops everything while it waits "
            "for the database, the renewal of leases included.",
            "Use psycopg or PyMySQL there, or the prefork pool.",
            "task_safety.W040",
        )
