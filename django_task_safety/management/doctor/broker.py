"""The brokers of the project's Celery apps: whether they answer, and when they deliver a message again."""

from collections.abc import Iterator
from typing import Any

from celery import Celery

from django_task_safety.conf import conf
from django_task_safety.management.doctor.findings import Finding, NoAnswer, bad, good, said, unknown, within
from django_task_safety.options import TaskOptions
from django_task_safety.producer import broker

#: The transport whose queues keep a visibility timeout of their own, which was set when they were made.
_KEPT_BY_THE_QUEUE = "sqs"


def probe(app: Celery, timeout: float) -> Iterator[Finding]:
    """Look at the broker of an app."""
    address = app.connection_for_write().as_uri()
    try:
        transport, visibility = within(timeout, lambda: _connect(app))
    except NoAnswer as exc:
        yield bad("broker", f"{address} does not answer: {exc}", _HINT)
    except Exception as exc:  # each transport has errors of its own
        yield bad("broker", f"{address} does not answer: {said(exc)}", _HINT)
    else:
        yield good("broker", f"{address} answers")
        if visibility is not None:
            yield _compare(app, transport, visibility)


_HINT = "Start it, or mend the app's broker_url. What is enqueued meanwhile waits in the database."


def _connect(app: Celery) -> tuple[str, float | None]:
    """Connect, and return the transport's name, and the seconds after which it delivers again what nobody acknowledges;
    None where it does not."""
    pool = broker.new_pool(app)
    try:
        with pool.connections.acquire(block=True) as connection:
            connection.connect()
            found: Any = getattr(connection.default_channel, "visibility_timeout", None)
            return connection.transport.driver_type, None if found is None else float(found)
    finally:
        pool.connections.force_close_all()


def _compare(app: Celery, transport: str, visibility: float) -> Finding:
    late = [task for task in app.tasks.values() if isinstance(task, TaskOptions) and task.acks_late]
    limits: dict[str, Any] = {task.name: task.time_limit or app.conf.task_time_limit for task in late}
    above = sorted(name for name, limit in limits.items() if limit is None or limit >= visibility)
    text = f"a message is delivered again after {visibility:g} s"
    hint = "Raise visibility_timeout in broker_transport_options, on every side."
    if above:
        shown = ", ".join(above[:5]) + (", …" if len(above) > 5 else "")
        return bad("visibility timeout", f"{text}, while these may still run: {shown}", hint)
    if visibility <= conf().LEASE:
        return bad("visibility timeout", f"{text}, within a lease ({conf().LEASE:g} s)", hint)
    if transport == _KEPT_BY_THE_QUEUE:
        return unknown("visibility timeout", f"{text}, as this side has it; queues made earlier keep their own")
    return good("visibility timeout", text)
