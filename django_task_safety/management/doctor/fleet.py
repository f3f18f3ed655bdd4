"""Workers, queues and what waits for them, as the workers last said and the table shows."""

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from django_task_safety import presentation
from django_task_safety.fleet.this_side import Side
from django_task_safety.fleet.workers import Fleet
from django_task_safety.management.console import plural
from django_task_safety.management.doctor import database
from django_task_safety.management.doctor.findings import Finding, bad, good, unknown
from django_task_safety.models import Operation
from django_task_safety.overview import Overview, QueueStatus
from django_task_safety.registry import safe_tasks
from django_task_safety.values.clock import as_aware
from django_task_safety.worker import backlog

#: So many stuck operations are named.
_NAMED = 10


def workers(seen: Overview, here: Side) -> Iterator[Finding]:
    """Look at the workers: whether there are any, and whether they run what this side runs."""
    alive = [worker for worker in seen.workers if worker.alive]
    if not alive:
        yield bad("workers", "no worker is running", "Start one: celery --app … worker.")
        return
    yield good("workers", f"{plural(alive, 'worker')}: {', '.join(sorted(worker.name for worker in alive))}")
    for worker in alive:
        # Of its settings another finding says more.
        if dataclasses.replace(here, settings="") != Side(worker.package, worker.celery, worker.django, ""):
            yield bad("workers", f"{worker.name}: {worker.problem}", "Restart it with the code of this side.")


def settings(seen: Overview, here: str) -> Finding:
    """Compare the fingerprint of this side's settings with that of each worker."""
    alive = [worker for worker in seen.workers if worker.alive]
    other = sorted(worker.name for worker in alive if worker.settings != here)
    if other:
        hint = "Give each side the same TASK_SAFETY, broker and serializer settings."
        return bad("settings", f"not the same as here ({here}): {', '.join(other)}", hint)
    if not alive:
        return unknown("settings", f"{here} here; there is no worker to compare with")
    return good("settings", f"{here}, the same everywhere")


def versions(seen: Overview, required: str) -> Finding:
    """Say whether every worker runs the version that is asked for."""
    alive = [worker for worker in seen.workers if worker.alive]
    other = sorted(f"{worker.name} ({worker.package})" for worker in alive if worker.package != required)
    if other:
        return bad("version", f"not {required}: {', '.join(other)}", "Restart them with that version, or wait for it.")
    if not alive:
        return unknown("version", f"there is no worker that could run {required}")
    return good("version", f"{required}, on every worker")


def queues(seen: Overview) -> Iterator[Finding]:
    """Look at the queues: whether somebody listens to each that has work, or to which a task of the project goes."""
    for queue in seen.queues:
        yield bad("queues", queue.problem, _LISTEN) if queue.problem else good("queues", _queue(queue))
    if any(worker.alive for worker in seen.workers):
        known = {queue.name for queue in seen.queues}
        unheard: dict[str, list[str]] = {}
        for task in safe_tasks():
            if (name := backlog.queue_of(task)) not in known:
                unheard.setdefault(name, []).append(task.name)
        for name, tasks in sorted(unheard.items()):
            yield bad("queues", f"nobody listens to {name!r}, to which {_some(tasks)} would go", _LISTEN)
    elif not seen.queues:
        yield unknown("queues", "no worker has said to which it listens")


_LISTEN = "Start a worker with --queues, or mend task_routes."


def _queue(queue: QueueStatus) -> str:
    said = [f"{queue.name}: {queue.due} due, {queue.running} running"]
    if queue.oldest:
        said.append(f"the oldest due for {presentation.in_words(queue.oldest)}")
    if queue.latency_p95 is not None:
        said.append(f"95 % start within {queue.latency_p95:.1f} s")
    if queue.heartbeat is not None:
        said.append(f"a message takes {queue.heartbeat.total_seconds():.1f} s")
    return ", ".join(said)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def sweeps(seen: Overview) -> Finding:
    """Say whether somebody sweeps."""
    if seen.last_sweep is None:
        return bad("sweeps", "nobody ever swept, as far as is known", _SWEEP)
    text = f"the last one {presentation.in_words(_since(seen.last_sweep)) or '0 s'} ago"
    return good("sweeps", text) if Fleet.read().is_swept else bad("sweeps", text, _SWEEP)


_SWEEP = "Workers sweep unless TASK_SAFETY['KEEPER'] is False; then let cron run manage.py task_safety sweep."


def stuck(seen: Overview) -> Iterator[Finding]:
    """Name what should have moved and did not, and why."""
    if not seen.stuck:
        yield good("stuck work", "none")
        return
    yield bad("stuck work", f"{plural(seen.stuck, 'operation')}; see task_safety list --stuck")
    for operation in Operation.objects.stuck().order_by("available_at")[:_NAMED]:
        yield bad("stuck work", f"{operation.pk} {operation.task}: {operation.why}")


def clocks(fleet: Fleet) -> Iterator[Finding]:
    """Compare each worker's clock with the database's."""
    for worker in fleet.alive:
        if worker.clock is None:  # it runs an older version
            continue
        ahead = as_aware(worker.clock) - as_aware(worker.last_seen)
        if abs(ahead) > database.TOLERANCE:
            text = f"the host {worker.host} of {worker.name} is {database.ahead(ahead)} the database"
            yield bad("clocks", text, database.HINT)


def _since(moment: datetime) -> timedelta:
    return datetime.now(UTC) - as_aware(moment)
