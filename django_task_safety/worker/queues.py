"""How long queues take: measured over what was started of late and, where that was nothing, by a heartbeat message.

The message goes through the queue as others do, and the worker that gets it notes how long it took. There is one on its
way at most, it expires, and only a worker that takes messages from the queue publishes one.
"""

import logging
import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from celery import Celery, Task, shared_task
from django.db.models import DurationField, ExpressionWrapper, F, Q

from django_task_safety.conf import conf
from django_task_safety.ledger import counts, table
from django_task_safety.ledger.patience import CLAIM_WAIT, bounded
from django_task_safety.producer import outbox
from django_task_safety.producer.call import retention
from django_task_safety.registry import safe_tasks
from django_task_safety.values import codec
from django_task_safety.values.clock import After, Now
from django_task_safety.worker_record import AbstractQueue, queue_model

logger = logging.getLogger("django_task_safety")

HEARTBEAT = "django_task_safety.heartbeat"
#: Seconds between two measurements of a queue, whoever makes them.
MEASURED_EVERY = 10.0
#: Over so many seconds, and of at most so many operations of each length of retention, of which there are few.
_SECONDS = 300.0
_SAMPLE = 2000
_RETENTIONS = 5
#: A queue is quiet that has started nothing for so many seconds; as many are between two heartbeats.
QUIET = 60.0
#: Seconds after which a heartbeat that has not arrived is taken for lost.
EXPIRES = 600.0
#: Seconds after which a queue that nobody measures any more is forgotten.
_FORGOTTEN_AFTER = 86_400.0


def queues() -> Any:
    """Return the rows of queues."""
    return queue_model().objects.using(conf().DATABASE)


def look_after(app: Celery, names: Collection[str]) -> None:
    """Measure those of the queues that nobody has measured of late: one worker each time, as the database decides.

    Args:
        app: Whose messages its worker takes from the queues.
    """
    # Brokers take names that no row can hold; those queues hold up the measuring of no other.
    names = [name for name in names if codec.is_name(name)]
    rows = {row.pk: row for row in queues().filter(pk__in=names).annotate(_now=Now())}
    if taken := [name for name in names if _take(name, rows.get(name))]:
        now = table.now()
        started = _started(now)
        for name in taken:
            times = started.get(name, [])
            queues().filter(pk=name).update(**_percentiles([seconds for seconds, _ in times]))
            if all(now - at > timedelta(seconds=QUIET) for _, at in times):
                _send_heartbeat(app, name)


def forget_the_unused() -> None:
    """Take away the rows of queues that nobody has measured for long."""
    queues().filter(measured_at__lt=After(-_FORGOTTEN_AFTER)).delete()


def _take(name: str, row: AbstractQueue | None) -> bool:
    """Become the one who measures the queue now; say whether."""
    if row is None:
        queues().bulk_create([queue_model()(name=name, measured_at=After(-2 * MEASURED_EVERY))], ignore_conflicts=True)
    elif row.__dict__["_now"] - row.measured_at < timedelta(seconds=MEASURED_EVERY):
        return False
    old = queues().filter(pk=name, measured_at__lte=After(-MEASURED_EVERY))
    return bool(old.update(measured_at=Now()))


def _started(now: datetime) -> Mapping[str, list[tuple[float, datetime]]]:
    """Return for each queue the seconds from due to start, and the start, of what was started of late."""
    since, found = now - timedelta(seconds=_SECONDS), defaultdict[str, list[tuple[float, datetime]]](list)
    starts = counts.starts_of_running(since, _SAMPLE)
    for kept in list({retention(task) for task in safe_tasks()})[:_RETENTIONS]:
        length = None if kept is None else kept.total_seconds()
        starts += counts.starts_of_ended(since, _SECONDS, length, _SAMPLE)
    for queue, seconds, at in starts:
        found[queue].append((seconds, at))
    return found


def _percentiles(seconds: Sequence[float]) -> dict[str, float | None]:
    ordered = sorted(seconds)
    ranks = {"latency_p50": 0.5, "latency_p95": 0.95}
    return {name: ordered[math.ceil(rank * len(ordered)) - 1] if ordered else None for name, rank in ranks.items()}


def _send_heartbeat(app: Celery, name: str) -> None:
    lost = Q(heartbeat_sent__lte=After(-EXPIRES))
    arrived = Q(heartbeat_arrived__isnull=False, heartbeat_sent__lte=After(-QUIET))
    row = queues().filter(lost | arrived | Q(heartbeat_sent=None), pk=name)
    # The row says that one is on its way before there is one.
    if row.update(heartbeat_sent=Now(), heartbeat_arrived=None) and not outbox.publish_plain(
        app, HEARTBEAT, (name,), queue=name, expires=EXPIRES
    ):
        queues().filter(pk=name).update(heartbeat_sent=None)


# A plain task, which costs no row; shared, so that each Celery app of the process has it, and with Celery's own class
# whatever the app's is. This module is imported when Django starts, as it does in each worker.
@shared_task(
    name=HEARTBEAT, base=Task, ignore_result=True, acks_late=False, send_events=False, rate_limit=None, typing=False
)
def heartbeat(queue: str) -> None:
    """Note that the heartbeat of a queue has arrived."""
    took = ExpressionWrapper(Now() - F("heartbeat_sent"), output_field=DurationField())
    try:
        on_its_way = queues().filter(pk=queue, heartbeat_sent__isnull=False, heartbeat_arrived=None)
        bounded(on_its_way, CLAIM_WAIT).update(heartbeat=took, heartbeat_arrived=Now())
    except Exception as exc:
        logger.warning("the heartbeat of a queue could not be noted: %s", codec.describe(exc))
