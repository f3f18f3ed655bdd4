"""Each attempt is a span of the trace in which its operation was asked for, whoever published that, and however often.

The headers that say of which trace it is are added where the message is made, and are kept in the row.
"""

from functools import partial
from typing import Any

from celery import current_task
from celery import signals as celery_signals
from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from django_task_safety import signals
from django_task_safety.ids import message_id
from django_task_safety.record import AbstractOperation
from django_task_safety.registry import safe_task_named
from django_task_safety.values import codec, masking
from django_task_safety.version import __version__

_UID = "django_task_safety.traces"
#: Where a request keeps its span, and how to leave that.
_SPAN = "task_safety_span"
_ENDS = ("succeeded", "retried", "requeued", "failed", "cancelled")


def connect() -> None:
    """Trace from now on; once per process."""
    celery_signals.before_task_publish.connect(_on_publish, weak=False, dispatch_uid=_UID)
    celery_signals.task_postrun.connect(_on_postrun, weak=False, dispatch_uid=_UID)
    signals.operation_started.connect(_on_started, weak=False, dispatch_uid=_UID)
    for name in _ENDS:
        signals.BY_NAME[name].connect(partial(_on_end, name), weak=False, dispatch_uid=_UID)
    signals.attempt_fenced.connect(partial(_on_end, "fenced"), weak=False, dispatch_uid=_UID)


def disconnect() -> None:
    """Trace nothing any more."""
    celery_signals.before_task_publish.disconnect(dispatch_uid=_UID)
    celery_signals.task_postrun.disconnect(dispatch_uid=_UID)
    for signal in (signals.operation_started, signals.attempt_fenced, *(signals.BY_NAME[name] for name in _ENDS)):
        signal.disconnect(dispatch_uid=_UID)


def _on_publish(sender: str = "", headers: Any = None, **published: Any) -> None:
    # Where Celery itself is instrumented, that puts its own span there, which belongs to the same trace.
    if headers is not None and safe_task_named(sender) is not None:
        added: dict[str, str] = {}
        propagate.inject(added)
        for name, value in added.items():
            headers.setdefault(name, value)


def _on_started(operation: AbstractOperation, **kwargs: Any) -> None:
    request = _request_of(operation)
    if request is not None and _SPAN not in vars(request):
        span = trace.get_tracer("django_task_safety", __version__).start_span(
            f"run {operation.task}", _parent(request), SpanKind.CONSUMER, _attributes(operation)
        )
        vars(request)[_SPAN] = span, context.attach(trace.set_span_in_context(span))


def _parent(request: Any) -> Context | None:
    """Return the context that the span belongs to: the one here, where somebody opened a span for the message (or calls
    eagerly), or else the caller's."""
    if trace.get_current_span().get_span_context().is_valid:
        return None
    carried = {**vars(request), **(request.headers or {})}
    fields = propagate.get_global_textmap().fields
    return propagate.extract({name: carried[name] for name in fields if isinstance(carried.get(name), str)})


def _attributes(operation: AbstractOperation) -> dict[str, str | int]:
    """Return what the span says of the operation; in its key, what nobody is to read is masked."""
    return {
        "messaging.system": "celery",
        "task_safety.operation": str(operation.pk),
        "task_safety.task": operation.task,
        "task_safety.key": operation.key,
        "task_safety.attempt": operation.attempt,
    }


def _on_end(outcome: str, operation: AbstractOperation, exc: BaseException | None = None, **kwargs: Any) -> None:
    request = _request_of(operation)
    if request is not None and (kept := vars(request).get(_SPAN)):
        span: Span = kept[0]
        span.set_attribute("task_safety.outcome", outcome)
        if exc is not None:
            # Not `record_exception`, which would tell what is masked here.
            span.set_attribute("error.type", type(exc).__qualname__)
            span.set_status(Status(StatusCode.ERROR, masking.mask(codec.describe(exc))))
        elif outcome in ("retried", "requeued"):
            span.set_status(Status(StatusCode.ERROR, outcome))


def _on_postrun(task: Any = None, **kwargs: Any) -> None:
    if task is not None and (kept := vars(task.request).pop(_SPAN, None)):
        span, token = kept
        context.detach(token)
        span.end()


def _request_of(operation: AbstractOperation) -> Any:
    """Return the request that runs the operation here; None where it is another one's, or none runs."""
    request = current_task.request if current_task else None
    if request is None or not request.id or message_id(str(request.id)) != operation.pk:
        return None
    return request
