"""What is counted and timed; see the page on observing for the names.

The instruments do nothing until the project sets a meter provider up, which it may do after this.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from celery import current_task
from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from django_task_safety import signals
from django_task_safety.ledger import counts
from django_task_safety.ledger.own_connections import own_connections
from django_task_safety.producer.header import DUE, HEADER
from django_task_safety.record import AbstractOperation, State
from django_task_safety.values import codec
from django_task_safety.values.clock import as_aware
from django_task_safety.version import __version__

logger = logging.getLogger("django_task_safety")

_UID = "django_task_safety.metrics"
#: Where an operation keeps when its attempt began (monotonic).
_BEGUN = "telemetry_begun"
#: Transitions that end an attempt.
_ENDS = ("succeeded", "retried", "failed", "cancelled")


class Instruments:
    """Those of one meter."""

    def __init__(self, meter: Meter) -> None:
        self._transitions = meter.create_counter("task_safety.transitions", description="Transitions of operations")
        self._latency = meter.create_histogram("task_safety.start.latency", "s", "From due to start")
        self._duration = meter.create_histogram("task_safety.run.duration", "s", "Of attempts")
        self._fenced = meter.create_counter("task_safety.fenced", description="Attempts that lost their operation")
        self._sweeps = meter.create_counter("task_safety.sweeps", description="Sweeps")
        self._swept = meter.create_counter("task_safety.swept", description="What sweeps did to operations")
        meter.create_observable_gauge("task_safety.queue.depth", [queue_depth], description="Operations in queues")

    def transition(self, name: str, operation: AbstractOperation) -> None:
        """Count a transition, and what it says of times."""
        task = {"task": operation.task}
        self._transitions.add(1, {**task, "transition": name})
        if name == "started":
            vars(operation)[_BEGUN] = time.monotonic()
            due, start = _due(operation), operation.started_at
            if due is not None and start is not None:
                self._latency.record(max(as_aware(start).timestamp() - due, 0.0), task)
        elif name in _ENDS and (begun := vars(operation).pop(_BEGUN, None)) is not None:
            self._duration.record(time.monotonic() - begun, {**task, "outcome": name})

    def ownership_lost(self, operation: AbstractOperation) -> None:
        """Count an attempt that lost its operation."""
        self._fenced.add(1, {"task": operation.task})

    def swept(self, swept: Any) -> None:
        """Count a sweep, and what it did."""
        self._sweeps.add(1)
        for action, number in dataclasses.asdict(swept).items():
            if number:
                self._swept.add(number, {"action": action})


def _due(operation: AbstractOperation) -> float | None:
    """Return since when it has been due, in seconds of the epoch, as its row or its message says."""
    # Not by the attribute: a deferred column would be read by a statement of its own.
    stored = vars(operation).get("available_at")
    if stored is not None:
        return as_aware(stored).timestamp()
    request = getattr(current_task, "request", None)
    said: Any = getattr(request, HEADER, None) or (getattr(request, "headers", None) or {}).get(HEADER)
    due = said.get(DUE) if isinstance(said, dict) and said.get("op") == str(operation.pk) else None
    return float(due) if isinstance(due, int | float) else None


def queue_depth(options: CallbackOptions) -> Iterable[Observation]:
    """Return what is due and what runs in each queue; in the reader's thread, by two statements."""
    depths: dict[tuple[str, str], int] = {}
    try:
        with own_connections():
            for group in (one for one in counts.groups() if one.queue):
                state = "due" if group.state == State.QUEUED else "running"
                depths[group.queue, state] = depths.get((group.queue, state), 0) + group.number
    except Exception as exc:
        logger.warning("the depth of the queues could not be read: %s", codec.describe(exc))
    return [Observation(number, {"queue": queue, "state": state}) for (queue, state), number in depths.items()]


def connect() -> None:
    """Count from now on; once per process."""
    instruments = Instruments(metrics.get_meter("django_task_safety", __version__))
    for name, signal in signals.BY_NAME.items():
        _connect(signal, partial(_on_transition, instruments, name), f"{_UID}.{name}")
    _connect(signals.attempt_fenced, partial(_on_ownership_lost, instruments), _UID)
    _connect(signals.swept, partial(_on_swept, instruments), _UID)


def disconnect() -> None:
    """Count nothing any more."""
    for name, signal in signals.BY_NAME.items():
        signal.disconnect(dispatch_uid=f"{_UID}.{name}")
    for other in (signals.attempt_fenced, signals.swept):
        other.disconnect(dispatch_uid=_UID)


def _connect(signal: Any, receiver: Callable[..., None], uid: str) -> None:
    signal.connect(receiver, weak=False, dispatch_uid=uid)


def _on_transition(instruments: Instruments, name: str, operation: AbstractOperation, **kwargs: Any) -> None:
    instruments.transition(name, operation)


def _on_ownership_lost(instruments: Instruments, operation: AbstractOperation, **kwargs: Any) -> None:
    instruments.ownership_lost(operation)


def _on_swept(instruments: Instruments, swept: Any, **kwargs: Any) -> None:
    instruments.swept(swept)
