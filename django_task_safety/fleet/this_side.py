"""What this process runs: versions, and a fingerprint of the settings that must be the same on each side."""

import dataclasses
import hashlib
import json
from typing import Any

import celery
import django
from celery import Celery
from django.conf import settings

from django_task_safety.conf import conf
from django_task_safety.registry import apps
from django_task_safety.version import __version__

#: Ours that each process may have as it likes.
_LOCAL = {
    *("KEEPER", "SWEEP_INTERVAL", "SWEEP_BATCH", "PUBLISH_TIMEOUT", "DATABASE"),
    *("STATUS_PERMISSION", "METRICS_PERMISSION"),
}
#: Celery's that both sides of a message must agree on, or that decide when it is delivered again.
_CELERYS = (
    *("task_serializer", "accept_content", "task_default_queue", "task_time_limit", "task_soft_time_limit"),
    *("timezone", "enable_utc", "task_always_eager", "task_protocol"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Side:
    """What a worker, or this process, runs."""

    package: str
    celery: str
    django: str
    settings: str


def this_side(app: Celery | None = None) -> Side:
    """Return what this process runs.

    Args:
        app: Whose settings count; the current app's where there is none.
    """
    return Side(__version__, celery.__version__, django.__version__, fingerprint(app or apps()[0]))


def fingerprint(app: Celery) -> str:
    """Return twelve characters that are the same where the settings that matter are. No secret is among these."""
    ours = {name: value for name, value in dataclasses.asdict(conf()).items() if name not in _LOCAL}
    celerys = {name: _plain(app.conf.get(name)) for name in _CELERYS}
    transport = (app.conf.broker_transport_options or {}).get("visibility_timeout")
    said = [ours, celerys, transport, settings.USE_TZ, settings.TIME_ZONE]
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _plain(value: Any) -> Any:
    return sorted(map(str, value)) if isinstance(value, list | tuple | set | frozenset) else value
