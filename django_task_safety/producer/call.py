"""A call of a task, made into the row that it asks for: bound, serialised, keyed and checked before it is written."""

import dataclasses
import operator
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.apps import apps
from django.db import models

from django_task_safety import ids
from django_task_safety.conf import conf, seconds
from django_task_safety.context import requester
from django_task_safety.errors import InvalidArguments, InvalidOption, InvalidPayload, PayloadTooLarge
from django_task_safety.ledger import schedule, subject_lock
from django_task_safety.objects.relation import is_watched
from django_task_safety.options import KEEP, PROTECT, TaskOptions
from django_task_safety.producer import call_options, redaction
from django_task_safety.producer.key import set_key
from django_task_safety.producer.signature import signature_for, signature_of
from django_task_safety.producer.title import title_of
from django_task_safety.record import AbstractOperation, new_operation
from django_task_safety.values import codec, keys, masking, references
from django_task_safety.values.annotations import ObjectParameters
from django_task_safety.values.clock import After, Now, as_stored
from django_task_safety.values.identity import Identity


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A task call as it will be stored and published: plain data only."""

    args: list[Any]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    payload: str
    operation: AbstractOperation
    #: The message that was made at the call, with the row and the options that it was made of; see `messages`.
    prepared: Any = None


def make_call(
    task: TaskOptions, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, options: Mapping[str, Any]
) -> Call:
    """Return the call, with the operation it asks for, not yet written; for the options see ``apply_async``. Raises
    `TaskSafetyError`: One of its kinds for whatever is wrong with the call. Nothing was written."""
    with masking.hiding(redaction.hidden(task, args, kwargs)):
        return _make_call(task, args, kwargs, options)


def _make_call(task: TaskOptions, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Call:
    stored = call_options.stored(task, options)
    pk = _task_id(stored.get("task_id"))
    _check_ids_of_next(task, stored)
    call_options.freeze_links(stored, pk)
    known: dict[references.Reference, models.Model] = {}
    serializer = stored.get("serializer") or task.serializer or "json"
    plain = _plain(task, args, kwargs, serializer, known)
    signature = signature_for(task, *plain)
    payload = codec.dumps(plain, serializer)
    limit = task.max_payload if task.max_payload is not None else conf().MAX_PAYLOAD
    if len(payload) > limit:
        raise PayloadTooLarge(
            f"The arguments of {task.name} are {len(payload)} bytes when serialised; the limit is {limit}. "
            "Pass a reference (an id, a path, a storage key), or raise max_payload."
        )
    read_back = references.parse(codec.loads(payload, task.app))
    arguments = keys.bind(signature, *read_back)
    operation = _operation(task, pk, arguments, stored, payload)
    operation.title, operation.requested_by = title_of(task, arguments, known), requester()
    if task.idempotent:
        set_key(task, arguments, operation, stored.get("eta"), known)
    return Call(plain[0], plain[1], stored, payload, operation)


def _plain(
    task: TaskOptions, args: Any, kwargs: Any, serializer: str, known: dict[references.Reference, models.Model]
) -> list[Any]:
    """Return ``[args, kwargs]`` with references for model instances."""
    args, kwargs = args or (), kwargs or {}
    if not isinstance(args, list | tuple) or not isinstance(kwargs, Mapping):
        raise InvalidArguments(f"{task.name}: args must be a list or tuple, and kwargs a mapping.")
    # Celery's own, since 5.7: the models among the arguments of a task with pydantic=True.
    if (dump := getattr(task, "_dump_pydantic_arguments", None)) is not None and serializer != "pickle":
        args, kwargs = dump(args, kwargs)
    try:
        plain: list[Any] = references.dump([*_as_objects(task, list(args), dict(kwargs))], known)
    except RecursionError as exc:
        raise InvalidPayload(f"{task.name}: the arguments contain themselves, or are nested too deeply.") from exc
    return plain


@lru_cache(maxsize=4096)
def _object_parameters(task: TaskOptions) -> ObjectParameters:
    return ObjectParameters(task.body, signature_of(task))


def _as_objects(task: TaskOptions, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return arguments with references for the primary keys of objects that the task's annotations ask for."""
    parameters = _object_parameters(task)
    if not parameters:
        return args, kwargs
    signature = signature_for(task, args, kwargs)
    if signature is not signature_of(task):
        parameters = ObjectParameters(task.body, signature)
    try:
        return parameters.take(args, kwargs)
    except InvalidArguments as exc:
        raise InvalidArguments(f"{task.name}: {exc}") from exc


def read_arguments(task: TaskOptions, arguments: Any) -> tuple[Any, Any, bool]:
    """Return a message's or a row's args and kwargs with every object in them as a reference, and whether one of them
    was sent as a primary key. Raises `InvalidArguments` for what is no object of the model that the task asks for."""
    sent_args, sent_kwargs = references.parse(arguments)
    args, kwargs = _as_objects(task, sent_args, sent_kwargs)
    same = all(map(operator.is_, [*args, *kwargs.values()], [*sent_args, *sent_kwargs.values()]))
    return args, kwargs, not same


def _operation(
    task: TaskOptions, pk: uuid.UUID, arguments: dict[str, Any], options: dict[str, Any], payload: str
) -> AbstractOperation:
    subject = references.pick_subject(task.subject, arguments)
    identity = subject.identity if subject else Identity()
    wait, expires = call_options.wait(options), options.get("expires")
    operation = new_operation(
        id=pk,
        task=task.name,
        **identity.columns,
        on_delete=task.on_delete if subject else "",
        payload=payload,
        options=call_options.dump(options),
        max_attempts=None if task.max_retries is None else task.max_retries + 1,
        created_at=Now(),
        available_at=After(wait) if wait else Now(),
        expires_at=expires and as_stored(expires),
        retention=retention(task),
        due_at=After(_first_look(wait, expires)),
        delivered=not call_options.has_canvas(options),
    )
    _bind_subject(task, operation, subject)
    return operation


def subject_of(task: TaskOptions, args: Any, kwargs: Any) -> references.Reference | None:
    """Return the reference to the object among arguments as `read_arguments` returns them."""
    return references.pick_subject(task.subject, keys.bind(signature_for(task, args, kwargs), args, kwargs))


def _bind_subject(task: TaskOptions, operation: AbstractOperation, subject: references.Reference | None) -> None:
    """Tie the operation to its object: by the hold on its row, and by the lock."""
    if subject is None:
        if task.lock is not None:
            raise InvalidArguments(f"{task.name} locks its object, but no argument of this call is a model instance.")
        if task.on_delete == PROTECT and task.subject is None:
            raise InvalidArguments(
                f"{task.name} protects its object (on_delete=PROTECT), but no argument of this call is a model "
                "instance. Pass the object instead of its id; where it may be None, name its parameter with subject=."
            )
        return
    model = apps.get_model(subject.label)
    if task.on_delete == PROTECT and not is_watched(model):
        raise InvalidOption(
            f"{task.name} protects its object (on_delete=PROTECT), but deleting a {model._meta.label} looks at no "
            f"operations. Derive it from PendingOperationsModel, or call watch({model.__name__})."
        )
    operation.lock = task.lock or ""
    _bind(operation, model)


def bind_stored_subject(operation: AbstractOperation) -> None:
    """Tie an operation that was read from its row to its object, as it was when it was asked for."""
    if operation.subject_label:
        _bind(operation, apps.get_model(operation.subject_label))


def _bind(operation: AbstractOperation, model: type[models.Model]) -> None:
    if operation.lock:
        # Invariant: one lock per object and name.
        operation.lock_slot = keys.slot(Identity.stored(operation), operation.lock)
    if operation.lock or (operation.on_delete != KEEP and is_watched(model)):
        operation.subject_row = subject_lock.subject_row_of(operation, model)


def retention(task: TaskOptions) -> timedelta | None:
    """Return how long an ended operation of the task is kept; None for ever."""
    kept = task.retention if task.retention is not None else conf().RETENTION
    return None if kept is None else timedelta(seconds=seconds(kept))


def _first_look(wait: float, expires: datetime | None) -> float:
    look = schedule.first_look(wait)
    return look if expires is None else max(0.0, min(look, call_options.until(expires)))


def _check_ids_of_next(task: TaskOptions, stored: Mapping[str, Any]) -> None:
    """Refuse an id that a next safe task could not have, at which the worker would stumble when this one succeeded."""
    for one in (*(stored.get("chain") or ()), *(stored.get("link") or ()), *(stored.get("link_error") or ())):
        if isinstance(task.app.tasks.get(one["task"]), TaskOptions):
            _task_id((one.get("options") or {}).get("task_id"))


def _task_id(value: Any) -> uuid.UUID:
    if value is None:
        return ids.new()
    try:
        return value if isinstance(value, uuid.UUID) else uuid.UUID(value)
    except (ValueError, AttributeError, TypeError):
        raise InvalidOption(
            f"task_id={value!r} is not a UUID. To make calls with the same meaning run once, use "
            "@idempotent_task(key=...) instead of a task_id of your own."
        ) from None
