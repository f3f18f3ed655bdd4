"""Long work becomes chunks under a parent: see `django_task_safety.ledger.parents` for what comes of them.

split           the chunks' rows, batch by batch, and the parent's, in the caller's transaction
publish_chunks  their messages, after that is committed, of their rows: what was read is not kept until then
again           a parent that ended is asked for again: those of its chunks that ended like it, in one statement
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, TypeVar, cast

from django.db import models, transaction

from django_task_safety import ids, ledger
from django_task_safety.conf import conf
from django_task_safety.context import requester
from django_task_safety.errors import InvalidArguments, InvalidKey
from django_task_safety.ledger import parents, table
from django_task_safety.ledger.insert import most_rows
from django_task_safety.options import TaskOptions
from django_task_safety.options.task_options import is_count
from django_task_safety.producer import eager, enqueue, outbox
from django_task_safety.producer.call import Call, bind_stored_subject, read_arguments, retention
from django_task_safety.producer.gathering import calls_of
from django_task_safety.producer.signature import signature_for, signature_of
from django_task_safety.producer.title import title_of_all
from django_task_safety.record import AbstractOperation, State, new_operation
from django_task_safety.values import keys, references
from django_task_safety.values.clock import After, Now
from django_task_safety.values.identity import Identity

T = TypeVar("T")

#: The parameter that takes a chunk's primary keys.
PKS = "pks"
#: How many primary keys are in memory at once, or one chunk.
_IN_MEMORY = 20_000


def split(queryset: Any, size: Any, task: Any, arguments: Mapping[str, Any]) -> AbstractOperation:
    """Write a parent and its chunks; see `django_task_safety.split`."""
    rows = _rows(queryset)
    if not is_count(size) or not size:
        raise InvalidArguments(f"split() takes the number of rows in a chunk, from 1, not {size!r:.80}.")
    task = _task(task, arguments)
    enqueue.refuse_manual_commit()
    parent = table.retry_on_deadlock(partial(_write, rows, size, task, arguments))
    if task.app.conf.task_always_eager:
        parent.refresh_from_db()
    return parent


def _rows(queryset: Any) -> "models.QuerySet[Any]":
    if isinstance(queryset, models.Manager):
        queryset = queryset.all()
    if not isinstance(queryset, models.QuerySet):
        raise InvalidArguments(f"split() takes a queryset, not {queryset!r:.80}.")
    return queryset


def _task(task: Any, arguments: Mapping[str, Any]) -> TaskOptions:
    if not isinstance(task, TaskOptions):
        raise InvalidArguments(f"split() takes a task of @safe_task or @idempotent_task, not {task!r:.80}.")
    if PKS in arguments or PKS not in signature_of(task).parameters:
        raise InvalidArguments(
            f"{task.name}: the parameter {PKS!r} takes the primary keys of a chunk from split(). The task must have "
            "it, and the call must not give it."
        )
    if task.lock is not None:
        raise InvalidArguments(
            f"{task.name} locks its object (lock={task.lock!r}), so its chunks cannot be pending together."
        )
    if task.idempotent and task.key is not None and not callable(task.key) and PKS not in _names(task.key):
        raise InvalidKey(f"{task.name}: its key must name {PKS!r}, or all chunks would be the same work.")
    return cast(TaskOptions, task.app.tasks[task.name])  # of a proxy, the task itself


def _names(key: Any) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else tuple(key)


def _write(
    rows: "models.QuerySet[Any]", size: int, task: TaskOptions, arguments: Mapping[str, Any]
) -> AbstractOperation:
    parent = _parent(task, arguments)
    number = max(1, min(_IN_MEMORY // size, conf().SWEEP_BATCH, most_rows(table.connection())))
    used = set[str]()
    with transaction.atomic(using=conf().DATABASE):
        chunks = _chunks(rows, size)
        while batch := list(islice(chunks, number)):
            _write_batch(task, parent, batch, arguments, used)
        ledger.enqueue([parent])
        if not parent.size:
            ledger.settle_parent(parent.pk)
            parent.refresh_from_db()
        transaction.on_commit(partial(publish_chunks, parent.pk), using=conf().DATABASE, robust=True)
    return parent


def _parent(task: TaskOptions, arguments: Mapping[str, Any]) -> AbstractOperation:
    args, kwargs, _ = read_arguments(task, references.dump([[], {**arguments, PKS: []}]))
    bound = keys.bind(signature_for(task, args, kwargs), args, kwargs)
    subject = references.pick_subject(task.subject, bound)
    parent = new_operation(
        **{"id": ids.new(), "task": parents.SPLIT, "state": State.RUNNING, "attempt": 1, "size": 0},
        **{"title": title_of_all(task, bound, PKS), "requested_by": requester(), "retention": retention(task)},
        **(subject.identity if subject else Identity()).columns,
        on_delete=task.on_delete if subject else "",
        **{"created_at": Now(), "available_at": Now(), "started_at": Now()},
        due_at=After(conf().SWEEP_INTERVAL),
    )
    bind_stored_subject(parent)
    return parent


def _chunks(rows: "models.QuerySet[Any]", size: int) -> Iterator[list[Any]]:
    """Yield the primary keys in lists, in ascending order, each list by a query of its own: not all databases hand out
    the rows of one query bit by bit."""
    pks = rows.values_list("pk", flat=True)
    if rows.query.is_sliced or rows.query.combinator or rows.query.distinct_fields:
        # Of which no rows can be left out: by one query.
        yield from _in_lists(dict.fromkeys(pks.iterator(chunk_size=size)), size)
        return
    pks = pks.order_by("pk").distinct()
    chunk = list(pks[:size])
    while chunk:
        yield chunk
        chunk = list(pks.filter(pk__gt=chunk[-1])[:size]) if len(chunk) == size else []


def _in_lists(items: Iterable[T], size: int) -> Iterator[list[T]]:
    left = iter(items)
    while found := list(islice(left, size)):
        yield found


def _write_batch(
    task: TaskOptions,
    parent: AbstractOperation,
    batch: list[list[Any]],
    arguments: Mapping[str, Any],
    used: set[str],
) -> None:
    calls = calls_of(task, [((), {**arguments, PKS: pks}) for pks in batch])
    for call, pks in zip(calls, batch, strict=True):
        _own(parent, call, len(pks), used)
    if task.app.conf.task_always_eager:
        for call in calls:
            eager.enqueue_call(task, call)
        return
    for answer in enqueue.enqueue_batch(task, sorted(calls, key=lambda call: enqueue.order(call.operation))):
        # Those of the chunks are published of their rows.
        enqueue.publish(task, answer, but_not=parent.pk)


def _own(parent: AbstractOperation, call: Call, size: int, used: set[str]) -> None:
    """Make a call's operation a chunk of the parent, with which it is pruned."""
    chunk = call.operation
    chunk.parent_id, chunk.size, chunk.retention = parent.pk, size, None
    parent.size = (parent.size or 0) + size
    if chunk.key_digest in used:
        raise InvalidKey(
            f"{chunk.task}: its key function returns the same for several chunks, which would be the same work. Let it "
            f"return {PKS!r} as well."
        )
    if chunk.key_digest is not None:
        used.add(chunk.key_digest)


def publish_chunks(pk: uuid.UUID) -> None:
    """Publish those of a parent's chunks that are queued."""
    queued = parents.chunks(pk).filter(state=State.QUEUED).order_by("pk").annotate(_now=Now())
    found = list(queued[: conf().SWEEP_BATCH])
    while found:
        outbox.publish_rows(found)
        found = list(queued.filter(pk__gt=found[-1].pk)[: conf().SWEEP_BATCH])
