"""Django system checks: settings that make the guarantees void."""

from collections.abc import Iterator
from typing import Any

from celery import Celery
from django.apps import apps as django_apps
from django.conf import settings
from django.core import checks
from django.db import DatabaseError, connections

from django_task_safety.conf import load
from django_task_safety.errors import InvalidSetting
from django_task_safety.options import TaskOptions
from django_task_safety.registry import all_apps, apps, import_tasks

#: Seconds for which a transport leaves an unacknowledged message alone before it delivers it again.
VISIBILITY_TIMEOUTS = {"redis": 3600, "rediss": 3600, "sentinel": 3600, "sqs": 1800, "gcpubsub": 240}
#: The oldest versions that have what the protocol needs.
_OLDEST = {"postgresql": (13,), "mariadb": (10, 5), "mysql": (8, 0, 1), "sqlite": (3, 24)}


#: Packages whose connections follow the tenant of the moment, and what those of others offer to change it.
_TENANTS_PACKAGES = {"django_tenants", "tenant_schemas", "django_pgschemas"}
_CHANGES_TENANT = ("set_schema", "set_tenant")


def register() -> None:
    """Register what can be checked before the app is ready, or where it was not installed at all."""
    registered: set[Any] = checks.registry.registry.registered_checks
    if check_settings not in registered:
        checks.register(check_settings, "task_safety")


def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    """TASK_SAFETY is valid (E001), and the app is installed (E002)."""
    problems: list[checks.CheckMessage] = []
    try:
        load(getattr(settings, "TASK_SAFETY", {}))
    except InvalidSetting as exc:
        problems.append(checks.Error(str(exc), id="task_safety.E001"))
    if not django_apps.is_installed("django_task_safety"):
        text = "'django_task_safety' is not in INSTALLED_APPS."
        hint = "Add it and run migrate; safe tasks keep their operations in its table."
        problems.append(checks.Error(text, hint=hint, id="task_safety.E002"))
    return problems


def check_broker(**kwargs: Any) -> list[checks.CheckMessage]:
    """The broker does not deliver a message again while its task may still run (W001).

    Looks at the tasks of the whole project: their modules are imported, and it says so where that fails (W003).
    """
    if all(_visibility_timeout(app) is None for app in all_apps()):
        return []
    problems = list(_import_tasks())
    for (timeout, limit), names in _late_tasks().items():
        if limit is None or limit >= timeout:
            shown = "no time limit" if limit is None else f"a time limit of {limit:g} s"
            which = f"Task {names[0]} has" if len(names) == 1 else f"Tasks {', '.join(names)} have"
            text = f"{which} {shown}, and the broker delivers a message again after {timeout:g} s (visibility_timeout)."
            hint = "Raise visibility_timeout in broker_transport_options above the time limit, or lower that."
            problems.append(checks.Warning(text, hint=hint, id="task_safety.W001"))
    return problems


def _visibility_timeout(app: Celery) -> float | None:
    scheme = str(app.conf.broker_url or "").partition("://")[0].partition("+")[0]
    options = app.conf.broker_transport_options or {}
    default = VISIBILITY_TIMEOUTS.get(scheme)
    return default and options.get("visibility_timeout", default)


def _import_tasks() -> Iterator[checks.CheckMessage]:
    try:
        import_tasks()
    except Exception as exc:  # whatever a module may raise; a warning must not stop `migrate`
        yield checks.Warning(
            f"Not all modules with tasks can be imported ({type(exc).__name__}: {exc}), so not every time limit was "
            "compared with the broker's visibility timeout.",
            hint="Mend the module, or take it out of the worker's reach: a worker imports it when it starts.",
            id="task_safety.W003",
        )


def _late_tasks() -> dict[tuple[float, float | None], list[str]]:
    """Return the names of the tasks that are acknowledged late, by their broker's timeout and their time limit."""
    found: dict[tuple[float, float | None], list[str]] = {}
    for app in apps():
        timeout = _visibility_timeout(app)
        for name, task in sorted(app.tasks.items()):
            if timeout is not None and isinstance(task, TaskOptions) and task.acks_late:
                names = found.setdefault((timeout, task.time_limit or app.conf.task_time_limit), [])
                names += [] if name in names else [name]
    return found


def _check_isolation(connection: Any) -> Iterator[checks.CheckMessage]:
    level = getattr(connection, "isolation_level", "")
    # PostgreSQL's is an enumeration, MySQL's a text.
    level = str(getattr(level, "name", level)).lower().replace("_", " ")
    if "repeatable" in level or "serializable" in level:
        yield checks.Warning(
            f"The database {connection.alias!r} uses an isolation level above READ COMMITTED: an attempt that lasts "
            "longer than a third of LEASE cannot commit, since its lease was renewed meanwhile.",
            hint="Use READ COMMITTED for this database, and lock rows where a task needs more; or raise LEASE above "
            "three times the longest task, and report no progress in atomic ones.",
            id="task_safety.W002",
        )


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
    except DatabaseError:
        return []
    if oldest is not None and version >= oldest and connection.features.supports_transactions:
        return list(_check_isolation(connection))
    return [
        checks.Error(
            f"The database {alias!r} ({connection.display_name} {'.'.join(map(str, version))}) cannot hold operations.",
            hint="Use PostgreSQL 13, MariaDB 10.5, MySQL 8 (InnoDB) or SQLite 3.24, or a newer one, and name it in "
            "TASK_SAFETY['DATABASE'].",
            id="task_safety.E003",
        )
    ]


def check_connections(**kwargs: Any) -> list[checks.CheckMessage]:
    """Tasks do not open a connection each to a database for which that takes long (W010)."""
    try:
        connection = connections[load(getattr(settings, "TASK_SAFETY", {})).DATABASE]
    except InvalidSetting:
        return []
    database = connection.settings_dict
    if connection.vendor == "sqlite" or database["CONN_MAX_AGE"] != 0 or database["OPTIONS"].get("pool"):
        return []
    return [
        checks.Warning(
            f"CONN_MAX_AGE of the database {connection.alias!r} is 0: each task opens a connection of its own, which "
            "can cost more than the task.",
            hint="Set it to 600, say, in the settings of the workers, and the connection outlives a safe task in the "
            "pools prefork, threads and solo. Silence this where tasks run in greenlets, or where it is what you want.",
            id="task_safety.W010",
        )
    ]


def check_schemas(**kwargs: Any) -> list[checks.CheckMessage]:
    """No database keeps a schema for each tenant (E007)."""
    return [
        checks.Error(
            f"The database {connection.alias!r} has a schema for each tenant, of which operations know nothing: "
            "objects with the same primary key in two schemas are one to keys, locks and deletes, and workers look "
            "for lost work in one schema only.",
            hint="Use plain Celery tasks for what belongs to a tenant, or a database for each tenant. Silence this "
            "only where no safe task has a tenant's object or number in its arguments or key.",
            id="task_safety.E007",
        )
        for connection in connections.all()
        if any(hasattr(connection, name) for name in _CHANGES_TENANT)
        or any(base.__module__.partition(".")[0] in _TENANTS_PACKAGES for base in type(connection).__mro__)
    ]
