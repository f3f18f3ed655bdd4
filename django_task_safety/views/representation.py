"""What somebody who may see an operation is told of it: as JSON, and as the values that templates show."""

import json
from datetime import datetime
from typing import Any, NamedTuple

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models.functions import Left
from django.http import HttpRequest
from django.utils.translation import gettext

from django_task_safety import presentation
from django_task_safety.errors import InvalidPayload, UrlsNotIncluded
from django_task_safety.models import Operation
from django_task_safety.registry import task_of
from django_task_safety.values import codec, status_links
from django_task_safety.values.clock import as_aware
from django_task_safety.views import access

#: Characters of a stored result that are read and shown; of a longer one is said that it is too large.
LONGEST_RESULT = 65_536
#: What may be long, and is not shown here.
_UNREAD = ("payload", "history", "result_payload", "error", "traceback", "exception")


class Result(NamedTuple):
    """What a task returned, as far as it is shown."""

    value: Any = None
    too_large: bool = False


def shown(operations: Any) -> Any:
    """Return a queryset's operations with what is shown of them, and no more."""
    return operations.defer(*_UNREAD)


def with_results(operations: Any) -> Any:
    """Return the same with their results, as far as these are shown."""
    return shown(operations).annotate(shown_result=Left("result_payload", LONGEST_RESULT + 1))


def _aware(moment: datetime | None) -> datetime | None:
    """Return a moment with its time zone, which whoever is elsewhere has to know."""
    return None if moment is None else as_aware(moment)


def as_json(request: HttpRequest | None, operation: Operation) -> dict[str, Any]:
    """Return what JSON says of an operation to who asks; its result only where that was read."""
    can_cancel = _can_cancel(request, operation)
    told: dict[str, Any] = {
        "id": str(operation.pk),
        "title": title(operation),
        "state": str(operation.state),
        "progress": operation.progress,
        "message": codec.one_line(operation.progress_message),
        "created_at": _aware(operation.created_at),
        "started_at": _aware(operation.started_at),
        "ended_at": _aware(operation.ended_at),
        "error": presentation.public_error(operation) or None,
        "can_cancel": can_cancel,
        "next_poll": presentation.next_poll(operation),
        "links": links(request, operation, can_cancel),
    }
    if _stored_result(operation) is not None:
        told["result"], too_large = result(operation)
        if too_large:
            told["result_too_large"] = True
    return told


def for_template(request: HttpRequest | None, operation: Operation) -> dict[str, Any]:
    """Return what templates show of an operation, to who asks; to nobody in particular where no request is known."""
    can_cancel = _can_cancel(request, operation)
    value, too_large = result(operation)
    return {
        "operation": operation,
        "title": title(operation),
        "icon": presentation.icon(operation.state),
        "word": presentation.state_word(operation),
        "tone": presentation.tone(operation),
        "percent": presentation.percent(operation),
        "message": codec.one_line(operation.progress_message),
        "error": presentation.public_error(operation),
        "result": value if value is None or isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False),
        "result_too_large": too_large,
        "can_cancel": can_cancel,
        "next_poll": presentation.next_poll(operation),
        "links": links(request, operation, can_cancel),
    }


def title(operation: Operation) -> str:
    """Return what an operation is called, as one line of text."""
    return codec.one_line(operation.title) or gettext("An operation")


def links(request: HttpRequest | None, operation: Operation, can_cancel: bool) -> dict[str, str]:
    """Return where the status is found by who asks, ``self``, and where to cancel it, ``cancel``; nothing where the
    project has no status pages. Who came by a signed link goes on by that."""
    signed = request is not None and access.granted(request, operation)
    link = request.GET[status_links.PARAMETER] if request is not None and signed else ""
    names = {"self": "operation", "cancel": "cancel"} if can_cancel else {"self": "operation"}
    try:
        return {name: status_links.address(page, operation.pk, link) for name, page in names.items()}
    except UrlsNotIncluded:
        return {}


def result(operation: Operation) -> Result:
    """Return the result of a task that says ``public_result=True``, as plain data; nothing of any other."""
    text = _stored_result(operation)
    if not text or operation.state != Operation.State.SUCCEEDED:
        return Result()
    try:
        task = task_of(operation)
        if task is None or not task.public_result:
            return Result()
        if len(text) > LONGEST_RESULT:
            return Result(too_large=True)
        value = codec.loads(text, task.app, results=True)
        return Result(json.loads(json.dumps(value, cls=DjangoJSONEncoder, allow_nan=False)))
    except (InvalidPayload, TypeError, ValueError, RecursionError):  # it is nothing that JSON can say
        return Result()


def _stored_result(operation: Operation) -> str | None:
    """Return the stored result as far as it was read; None where it was not."""
    read = operation.__dict__
    text: str | None = read.get("shown_result", read.get("result_payload"))
    return text


def _can_cancel(request: HttpRequest | None, operation: Operation) -> bool:
    return request is not None and operation.is_pending and access.may_cancel(request, operation)
