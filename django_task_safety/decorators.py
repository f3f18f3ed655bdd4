"""The two decorators: ``shared_task`` on `SafeTask`, with the options checked where they are written."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any, overload

from celery import Task, shared_task
from celery.local import Proxy

from django_task_safety import options as task_options
from django_task_safety import registry
from django_task_safety.errors import InvalidOption
from django_task_safety.options import Compensation, Example, RetryRule
from django_task_safety.tasks import SafeTask

Function = Callable[..., Any]
Decorator = Callable[[Function], Any]


# A task by name, found in the current Celery app when it is used; `compensate` and `example` do not have to find it.
class TaskProxy(Proxy):  # type: ignore[type-arg]
    __doc__ = Proxy.__dict__["__doc__"]  # the task's own

    def compensate(self, handler: Compensation) -> Compensation:
        """Register ``handler(operation, exc)``, called once, in the transaction that makes the operation FAILED."""
        compensations: list[Compensation] = object.__getattribute__(self, "_compensations")
        compensations.append(handler)
        return handler

    def example(self, make: Example) -> Example:
        """Register what makes an example of a call; see `SafeTask.example`."""
        examples: list[Example] = object.__getattribute__(self, "_examples")
        examples[:] = [make]
        return make


# The defaults are those of `TaskOptions`.
@overload
def safe_task(function: Function, /) -> Any: ...


@overload
def safe_task(
    *,
    on_delete: str = ...,
    subject: str | None = ...,
    lock: str | None = ...,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] | RetryRule | None = ...,
    max_payload: int | None = ...,
    atomic: bool = ...,
    retention: timedelta | float | None = ...,
    redact: list[str] | tuple[str, ...] = ...,
    title: str | Callable[..., Any] | None = ...,
    public_result: bool = ...,
    **celery_options: Any,
) -> Decorator: ...


def safe_task(function: Function | None = None, /, **options: Any) -> Any:
    """Make a function a Celery task whose effects happen exactly once per operation and that is never lost.

    Usable bare or with options; takes every option of Celery's ``shared_task`` besides these.

    Args:
        function: The task's body.
        options: ``on_delete``: CANCEL, PROTECT or KEEP: what deleting the object does to the pending operation.
            ``subject``: the parameter that is the object; default the first model instance.
            ``lock``: a name; at most one pending operation per object holds it.
            ``retry_on``: exception classes, or a callable of the exception that returns bool, seconds or a timedelta;
            default: errors that tend to pass (connections, timeouts, the database).
            ``max_payload``: bytes of serialised arguments.
            ``atomic``: whether the body runs in a transaction.
            ``retention``: how long an ended operation is kept (seconds or timedelta).
            ``redact``: parameters whose values are shown as ``•••`` in keys, logs and errors, besides the setting's.
            ``title``: what people see of an operation: a format string over the arguments, or a callable of them.
            ``public_result``: whether the status page shows the result to whoever may see the operation.
            ``max_retries`` (5), ``retry_backoff`` (2 s), ``retry_backoff_max`` (600 s), ``retry_jitter`` (True),
            ``autoretry_for``, ``dont_autoretry_for``, ``time_limit``, ``soft_time_limit``: as Celery's.

    Raises:
        InvalidOption: For an unknown option, at once; for a value that cannot work, when the task is bound to an app.
    """
    return _decorate(function, options, task_options.SAFE_OPTIONS)


@overload
def idempotent_task(function: Function, /) -> Any: ...


@overload
def idempotent_task(
    *,
    key: str | Iterable[str] | Callable[..., Any] | None = ...,
    on_duplicate: str = ...,
    rerun: str = ...,
    match: str | Iterable[str] | None = ...,
    version: str | None = ...,
    period: timedelta | None = ...,
    retention: timedelta | float | None = ...,
    **options: Any,
) -> Decorator: ...


def idempotent_task(function: Function | None = None, /, **options: Any) -> Any:
    """Make a function a `safe_task` that succeeds once per key: the row of the success is the processed marker.

    Args:
        function: The task's body.
        options: Those of `safe_task`, and:
            ``key``: a parameter's name, several, or a callable of the bound arguments; default: all arguments.
            ``on_duplicate``: while the first is pending, ``"return"`` its handle, ``"raise"`` ``DuplicateOperation``,
            or ``"replace"`` its arguments.
            ``rerun``: after the first ended, run again what ``"failed"`` or was cancelled, ``"never"``, ``"always"``.
            ``match``: parameters that must be equal for the same key; otherwise ``KeyReused``.
            ``version``: a parameter that only grows; what is older than the last success is skipped.
            ``period``: a timedelta; one run per period (aligned to the UTC epoch) and key.
            ``retention``: how long the marker is kept (seconds or timedelta); default: the setting.

    Raises:
        InvalidOption: As `safe_task` does.
    """
    own = {*task_options.SAFE_OPTIONS, *task_options.IDEMPOTENT_OPTIONS}
    return _decorate(function, options, own, idempotent=True)


def _decorate(function: Function | None, options: dict[str, Any], own: Iterable[str], **fixed: Any) -> Any:
    base = _safe_base(options.pop("base", SafeTask))
    task_options.refuse_unknown(options, base, own)

    def decorator(body: Any) -> Any:
        if isinstance(body, type) or not (callable(body) or registry.is_djangos_task(body)):
            raise InvalidOption(f"A task is made of a function, not of {body!r}. For a class of tasks use base=.")
        attributes = {name: _plain(name, value) for name, value in options.items()}
        if registry.is_djangos_task(body):
            _check(body.func, base, {**attributes, **fixed})
            registry.stacked[body.module_path] = registry.Stacked(options, bool(fixed.get("idempotent")))
            return body
        registered: dict[str, list[Any]] = {"compensations": [], "examples": []}
        _check(body, base, {**attributes, **fixed})
        make: Any = shared_task
        inner = make(body, base=base, **registered, **attributes, **fixed)
        proxy = TaskProxy(inner._get_current_object)
        for name, those in registered.items():
            object.__setattr__(proxy, f"_{name}", those)
        return proxy

    return decorator if function is None else decorator(function)


def _check(body: Function, base: type[Task[Any, Any]], attributes: dict[str, Any]) -> None:
    """Refuse here what cannot work: an app that is not finalized yet would make the task only when it is first used."""
    run = body if attributes.get("bind") else staticmethod(body)
    named = {"name": body.__name__, **attributes, "run": run, "abstract": True}
    task_options.check(type(body.__name__, (base,), named))


def _plain(name: str, value: Any) -> Any:
    """Return an option as a class attribute that Celery can read, too."""
    if name in ("autoretry_for", "dont_autoretry_for") and isinstance(value, type):
        return (value,)
    if isinstance(value, Iterator):
        return tuple(value)
    if name == "retry_backoff_max" and isinstance(value, timedelta):
        return value.total_seconds()
    # A function that is made a class attribute would be bound to the task when it is read.
    return staticmethod(value) if callable(value) and not isinstance(value, type) else value


def _safe_base(base: type[Task[Any, Any]]) -> type[Task[Any, Any]]:
    """Return a base with both the methods of ``base`` and the protocol."""
    if issubclass(base, SafeTask):
        return base
    return types.new_class(str(base.__name__), (base, SafeTask), exec_body=lambda body: body.update(abstract=True))
