"""Cancel, retry or rerun all that a filter of the list lets through, as an operation of its own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.admin.sites import all_sites
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, QueryDict
from django.urls import get_resolver
from django.utils import timezone
from django.utils.translation import gettext

from django_task_safety.admin import acting
from django_task_safety.admin.acting import VERBS, Outcome, Verb
from django_task_safety.context import current_operation
from django_task_safety.decorators import safe_task
from django_task_safety.ledger.keyset import NEWEST_FIRST, OLDEST_FIRST, Cursor, beyond, until
from django_task_safety.models import Operation

#: How many are handled in one transaction.
BATCH = 500


def enqueue(verb: Verb, request: HttpRequest, site: Any, reason: str) -> Operation:
    """Enqueue it for what the list shows now; the filter travels as the list's query string."""
    newest = Operation.all_rows.order_by(*NEWEST_FIRST).values_list("created_at", "id").first()
    last = str(Cursor(*newest)) if newest else ""
    task = act_on_all.options(requested_by=request.user)
    arguments = {"site": site.name, "query": request.META.get("QUERY_STRING", ""), "user": str(request.user.pk)}
    made: Operation = task.enqueue(
        verb.name, **arguments, last=last, asked_at=timezone.now().isoformat(), reason=reason
    )
    return made


@safe_task(
    name="django_task_safety.act_on_all",
    atomic=False,
    title=lambda what, query, **_: f"{VERBS[what].label}: " + (query or gettext("all")),
    soft_time_limit=3300,
    time_limit=3400,
)
def act_on_all(what: str, *, site: str, query: str, user: str, last: str, asked_at: str, reason: str) -> dict[str, Any]:
    """Handle the rows in batches, oldest first, each in a transaction. Begun again, it goes on: what is done does not
    match any more.

    Args:
        what: A name in `VERBS`.
        site: The name of the site of the admin, whose list is meant.
        query: The list's query string.
        user: Who does it: a user's primary key.
        last: The newest row that is meant.
        asked_at: When it was asked for; what ends afterwards is not meant.
        reason: Why it is cancelled.
    """
    verb, operation = VERBS[what], current_operation()
    by = get_user_model()._default_manager.get(pk=user)
    matching = _matching(site, query, by, verb)
    if last:
        matching = matching.filter(until(Cursor.parse(last), newer=True))
    found = verb.among(matching, datetime.fromisoformat(asked_at))
    total, meant, outcome = found.count(), matching.count(), Outcome()
    for pks in _batches(found):
        outcome.add(acting.act(verb, pks, by, reason))
        if isinstance(operation, Operation):
            operation.report(outcome.done, max(total, outcome.done), f"{outcome.done:,} / {total:,}")
    # What was so from the start, and what has become so before its turn came.
    outcome.skipped[verb.otherwise] += max(meant - outcome.done - outcome.skipped.total(), 0)
    if isinstance(operation, Operation):
        said = [str(verb.said) % {"count": f"{outcome.done:,}"}]
        said += [acting.skipped(count, why) for why, count in (+outcome.skipped).items()]
        operation.report(1, 1, " ".join(said))
    return {"done": outcome.done, "skipped": dict(+outcome.skipped)}


def _matching(site: str, query: str, user: Any, verb: Verb) -> Any:
    """Return what that user's list shows: by the admin's own class, which a project may have made stricter."""
    get_resolver().url_patterns  # noqa: B018 - a project may register its sites there
    sites = (one for one in all_sites if one.name == site and one.is_registered(Operation))
    model_admin: Any = next((one.get_model_admin(Operation) for one in sites), None)
    request = HttpRequest()
    request.method, request.GET, request.user = "GET", QueryDict(query), user
    if model_admin is None or not verb.allowed(user) or not model_admin.has_view_permission(request):
        raise PermissionDenied(f"{user} may not {verb.name} operations in the admin {site!r}.")
    return model_admin.get_changelist_instance(request).get_queryset(request)


def _batches(found: Any) -> Iterator[list[UUID]]:
    place: Cursor | None = None
    while True:
        rows = found.filter(beyond(place, newer=True)) if place else found
        places = list(rows.order_by(*OLDEST_FIRST).values_list("created_at", "id")[:BATCH])
        if not places:
            return
        yield [pk for _, pk in places]
        place = Cursor(*places[-1])
