"""Checks of the broker: how long it leaves an unacknowledged message alone, and what it is."""

import importlib.util
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from celery import Celery
from django.conf import settings
from kombu.transport import TRANSPORT_ALIASES, resolve_transport

from django_task_safety.checks.findings import CannotTell, Finding, about, named, warning
from django_task_safety.checks.project import Project

#: Seconds for which a transport leaves an unacknowledged message alone before it delivers it again.
VISIBILITY_TIMEOUTS = {"redis": 3600, "rediss": 3600, "sentinel": 3600, "sqs": 1800, "slmq": 1800, "pgmq": 1800}
#: Those of RabbitMQ have no such option, but a server that gives up on a consumer after this many seconds.
_RABBITMQ, _CONSUMER_TIMEOUT = frozenset({"amqp", "amqps", "pyamqp", "librabbitmq"}), 1800
_NO_SERVERS = frozenset({"memory", "filesystem", "sqla", "sqlalchemy"})
#: What a transport's module needs beside Kombu.
_DRIVERS = {
    **{"redis": "redis", "rediss": "redis", "sentinel": "redis", "sqs": "boto3", "mongodb": "pymongo"},
    **{"kafka": "confluent_kafka", "confluentkafka": "confluent_kafka", "sqla": "sqlalchemy"},
    **{"sqlalchemy": "sqlalchemy", "zookeeper": "kazoo", "pgmq": "psycopg"},
}
_AGAIN = ("task_safety.W001", "task_safety.W020", "task_safety.W021", "task_safety.W022")
#: Seconds from which a time limit says of its task that it is a long one.
_LONG = 600


class Unknown(Exception):
    """What cannot be known of a broker, and why."""


def schemes(app: Celery) -> list[str]:
    """Return what an app's broker is, and its alternatives, "" for what is not said."""
    urls: Any = app.conf.broker_read_url or ""
    several = urls.split(";") if isinstance(urls, str) else list(urls)
    return [str(url).partition("://")[0].partition("+")[0].lower() for url in several]


def visibility_timeout(app: Celery) -> float | None:
    """Return the seconds after which an app's broker delivers a message again, None if it never does.

    Raises:
        Unknown: If that cannot be known.
    """
    timeouts = [timeout for scheme in schemes(app) if (timeout := _default_timeout(scheme)) is not None]
    if not timeouts:
        return None
    given = (app.conf.broker_transport_options or {}).get("visibility_timeout")
    if given is None:
        return min(timeouts)
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise Unknown(f"visibility_timeout is {given!r}, which is no number of seconds")
    return float(given)


def _default_timeout(scheme: str) -> float | None:
    if scheme in VISIBILITY_TIMEOUTS:
        return VISIBILITY_TIMEOUTS[scheme]
    if not scheme:
        raise Unknown("no broker_url is known here, of which a worker may be told by another way")
    transport = TRANSPORT_ALIASES.get(scheme)
    if transport is None or scheme == "azureservicebus":  # which renews its locks, or not, by options of its own
        raise Unknown(f"whether the broker {scheme!r} delivers a message again while its task runs")
    if str(transport).startswith("kombu.transport."):
        return None
    own: Any = getattr(resolve_transport(scheme), "Channel", None)
    timeout = getattr(own, "visibility_timeout", None)
    return float(timeout) if isinstance(timeout, int | float) else None


def known_timeouts(project: Project) -> dict[Celery, float]:
    """Return the timeouts of the apps, where there are any and they are known."""
    found = {}
    for app in project.apps:
        try:
            timeout = visibility_timeout(app)
        except Unknown:
            continue
        if timeout is not None:
            found[app] = timeout
    return found


@about(*_AGAIN)
def check_known(project: Project) -> Iterator[Finding]:
    """It is known when the brokers deliver a message again."""
    for app in project.apps:
        try:
            visibility_timeout(app)
        except Unknown as exc:
            yield CannotTell(_AGAIN, str(exc))
    long = {
        task.name
        for app, task in project.safe_in_apps
        if task.acks_late and _RABBITMQ.intersection(schemes(app)) and _limit(app, task) >= _CONSUMER_TIMEOUT
    }
    if long:
        why = f"{named(long)} may take longer than RabbitMQ waits for an acknowledgement (consumer_timeout there, half "
        yield CannotTell(("task_safety.W001",), f"{why}an hour if nobody set it)")


def _limit(app: Celery, task: Any) -> float:
    limit = task.time_limit or app.conf.task_time_limit
    return float("inf") if limit is None else float(limit)


@about("task_safety.W001", "task_safety.W020")
def check_late(project: Project) -> Iterator[Finding]:
    """The broker does not deliver a message again while its task may still run."""
    timeouts = known_timeouts(project)
    safe = [(app, task) for app, task in project.safe_in_apps if task.acks_late]
    plain = [(app, task) for app, task in project.plain_tasks if task.acks_late]
    for (timeout, limit), names in _beyond(timeouts, safe).items():
        yield warning(
            f"{named(names)}: {_shown(limit)}, and the broker delivers a message again after {timeout:g} s "
            "(visibility_timeout).",
            "Raise visibility_timeout in broker_transport_options above the time limit, or lower that.",
            "task_safety.W001",
        )
    for (timeout, limit), names in _beyond(timeouts, plain).items():
        yield warning(
            f"{named(names, 'Plain task')}: {_shown(limit)}, late acknowledgement, and a broker that delivers a "
            f"message again after {timeout:g} s (visibility_timeout): then it runs twice at the same time.",
            "Give it a time limit below the visibility timeout, or make it a safe task.",
            "task_safety.W020",
        )


def _beyond(timeouts: Any, tasks: Any) -> dict[tuple[float, float], set[str]]:
    found: dict[tuple[float, float], set[str]] = defaultdict(set)
    for app, task in tasks:
        timeout, limit = timeouts.get(app), _limit(app, task)
        if timeout is not None and limit >= timeout:
            found[timeout, limit].add(task.name)
    return found


def _shown(limit: float) -> str:
    return "no time limit" if limit == float("inf") else f"a time limit of {limit:g} s"


@about("task_safety.W021")
def check_short_waits(project: Project) -> Iterator[Finding]:
    """What waits in the broker, because it waits for a short time only, is not delivered again meanwhile."""
    for timeout in sorted(set(known_timeouts(project).values())):
        if timeout <= project.conf.MAX_BROKER_DELAY and project.safe_tasks:
            yield warning(
                f"Waits of up to {project.conf.MAX_BROKER_DELAY:g} s (MAX_BROKER_DELAY) are left to the broker, which "
                f"delivers a message again after {timeout:g} s (visibility_timeout).",
                "Lower TASK_SAFETY['MAX_BROKER_DELAY'] or raise visibility_timeout.",
                "task_safety.W021",
            )


@about("task_safety.W022")
def check_long_waits(project: Project) -> Iterator[Finding]:
    """Plain tasks do not wait in the broker for longer than it keeps a message to itself."""
    timeouts, found = known_timeouts(project), defaultdict(set)
    for app, task in project.plain_tasks:
        timeout: Any = timeouts.get(app)
        if timeout is not None and _longest_wait(task) >= timeout:
            found[timeout].add(task.name)
    for timeout, names in found.items():
        yield warning(
            f"{named(names, 'Plain task')}: a retry may wait for longer than the {timeout:g} s after which the broker "
            "delivers a message again (visibility_timeout): then it is delivered once more, and runs more than once.",
            "Shorten default_retry_delay or retry_backoff_max, or make it a safe task, which waits in the database.",
            "task_safety.W022",
        )


def _longest_wait(task: Any) -> float:
    backoff = getattr(task, "retry_backoff_max", 600) if getattr(task, "retry_backoff", False) else 0
    waits = (backoff, task.default_retry_delay or 0)
    return max(float(wait) for wait in waits if isinstance(wait, int | float))


@about("task_safety.W023")
def check_prefetch(project: Project) -> Iterator[Finding]:
    """No short task waits behind long ones that the same process has fetched."""
    long = {
        task.name
        for app, task in project.safe_in_apps
        # The second one is there from Celery 5.6.
        if app.conf.worker_prefetch_multiplier != 1 and not app.conf.get("worker_disable_prefetch")
        if "time_limit" in task.given_limits and (task.time_limit or _LONG) >= _LONG
        if task.time_limit is None or task.time_limit > (project.conf.TIME_LIMIT or 0)
    }
    if long:
        yield warning(
            f"{named(long)}: longer than usual by the time limit, while a worker fetches several messages for each of "
            "its processes (worker_prefetch_multiplier): others wait behind it, though another worker is free.",
            "Set worker_prefetch_multiplier to 1, or silence this where these tasks have workers of their own that do.",
            "task_safety.W023",
        )


@about("task_safety.W024")
def check_driver(project: Project) -> Iterator[Finding]:
    """What speaks to the broker is installed."""
    for scheme in sorted({scheme for app in project.apps for scheme in schemes(app)}):
        driver = _DRIVERS.get(scheme)
        if driver is not None and importlib.util.find_spec(driver) is None:
            yield warning(
                f"The broker's URL begins with {scheme}://, but the package {driver!r} is not installed: nothing can "
                "be published from here.",
                f"Install it: Celery has an extra for it, such as pip install 'celery[{scheme}]'.",
                "task_safety.W024",
            )


@about("task_safety.W025")
def check_cache(project: Project) -> Iterator[Finding]:
    """No cache shares its Redis database with the broker, for `cache.clear()` empties it."""
    brokers = {place for app in project.apps for place in _places(app.conf.broker_read_url)}
    for alias, cache in settings.CACHES.items():
        if "redis" in str(cache.get("BACKEND", "")).lower() and brokers.intersection(_places(cache.get("LOCATION"))):
            yield warning(
                f"The cache {alias!r} and the broker are one Redis database: cache.clear() removes all messages.",
                "Give one of them another number at the end of its URL, such as redis://localhost:6379/1.",
                "task_safety.W025",
            )


def _places(urls: Any) -> Iterator[tuple[str, int, str]]:
    """Yield host, port and database number of Redis's URLs."""
    several = urls.replace(",", ";").split(";") if isinstance(urls, str) else urls or ()
    for url in several:
        parts = urlsplit(str(url))
        if parts.scheme in ("redis", "rediss"):
            host = {"localhost": "127.0.0.1", None: "127.0.0.1"}.get(parts.hostname, parts.hostname)
            yield str(host), parts.port or 6379, parts.path.strip("/") or "0"


@about("task_safety.W026")
def check_server(project: Project) -> Iterator[Finding]:
    """In production there is a server that keeps the messages (with ``--deploy``)."""
    for scheme in sorted(_NO_SERVERS.intersection(scheme for app in project.apps for scheme in schemes(app))):
        yield warning(
            f"The broker is {scheme}://, which is for tests and tours: it loses messages, or is known to one process "
            "only.",
            "Use RabbitMQ, Redis or another server.",
            "task_safety.W026",
        )
