"""What is shown of an operation in a list."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from django_task_safety import presentation
from django_task_safety.admin import links
from django_task_safety.models import Operation
from django_task_safety.values import codec
from django_task_safety.values.clock import as_aware

#: What the list does not show, and may be long.
HEAVY = ("payload", "options", "result_payload", "error", "traceback", "exception", "history")


def furnish(rows: list[Any], request: Any, site: Any) -> None:
    """Give the rows of a page what is shown beside their columns: the names of users in one statement."""
    names = links.user_names(row.requested_by for row in rows)
    for row in rows:
        row.url, row.shown_title, row.shown_state = links.operation_url(site, row.pk), title_of(row), state(row)
        row.shown_age = age(row)
        row.object_link = links.object_link(site, request, row)
        row.requester_link = links.requester_link(site, row.requested_by, names)


def title_of(operation: Operation) -> str:
    """Return an operation's title, one line, or else its task's name."""
    return codec.one_line(operation.title or operation.task)


def moment(stored: Any) -> str:
    """Return a time to the second in the reader's zone and language; "" for None."""
    if stored is None:
        return ""
    local = timezone.localtime(as_aware(stored))
    return f"{formats.date_format(local, 'DATE_FORMAT')}, {local:%H:%M:%S}"


def state(operation: Operation) -> str:
    """Return the state, as a sign and a word, with how far it has come."""
    done = presentation.percent(operation) if operation.state == operation.State.RUNNING else None
    return format_html(
        '<span class="ts-state ts-{}"><span aria-hidden="true">{}</span> {}{}</span>',
        presentation.tone(operation),
        presentation.icon(operation.state),
        capfirst(presentation.state_word(operation)),
        "" if done is None else f" {done} %",
    )


def age(operation: Operation) -> str:
    """Return how long ago it was asked for, with the moment where one points at it."""
    words = presentation.in_words(presentation.age(operation))
    return format_html('<span title="{}">{}</span>', moment(operation.created_at), words)


class Cells:
    """The columns of the list, and of the inline."""

    @admin.display(description=_("title"))
    def shown_title(self, operation: Operation) -> str:
        return title_of(operation)

    @admin.display(description=_("reason"), empty_value="")
    def shown_why(self, operation: Operation) -> str:
        return operation.why

    @admin.display(description=_("state"))
    def shown_state(self, operation: Operation) -> str:
        return state(operation)

    @admin.display(description=_("queue"))
    def shown_queue(self, operation: Operation) -> str:
        return str(operation.queue)

    @admin.display(description=_("object"), empty_value="")
    def shown_object(self, operation: Any) -> str:
        return str(operation.object_link)

    @admin.display(description=_("requested by"), empty_value="")
    def shown_requester(self, operation: Any) -> Any:
        return operation.requester_link

    @admin.display(description=_("age"))
    def shown_age(self, operation: Operation) -> str:
        return age(operation)

    @admin.display(description=_("duration"), empty_value="")
    def shown_duration(self, operation: Operation) -> str:
        return presentation.in_words(presentation.duration(operation))

    @admin.display(description=_("attempt"))
    def shown_attempt(self, operation: Operation) -> int:
        return operation.attempt
