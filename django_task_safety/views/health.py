"""Whether all is well, for load balancers and probes: one word for strangers, by two statements at most."""

import contextlib
from typing import Any

from django.db import Error as DatabaseError
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from django_task_safety.fleet import reasons
from django_task_safety.fleet.workers import Fleet
from django_task_safety.ledger import table
from django_task_safety.models import Operation
from django_task_safety.views import access


@require_safe
@never_cache
def health(request: HttpRequest) -> HttpResponseBase:
    """Answer 200 where the database answers, a worker runs, somebody sweeps and nothing is stuck; otherwise 503.

    With ``?only=database`` just the first of these, for what takes single web processes out of service. What is wrong
    is told to staff who may view operations.
    """
    try:
        if request.GET.get("only") == "database":
            table.now()
            problems = []
        else:
            problems = _problems(Fleet.read())
    except DatabaseError:
        return JsonResponse({"status": "bad"}, status=503)
    told: dict[str, Any] = {"status": "bad" if problems else "good"}
    if _may_know(request):
        told["problems"] = problems
    return JsonResponse(told, status=503 if problems else 200)


# A transaction around the request would need the database that may be down.
for _alias in connections:
    health = transaction.non_atomic_requests(using=_alias)(health)


def _problems(fleet: Fleet) -> list[str]:
    if not fleet.alive:
        return [reasons.no_worker()]
    found = [] if fleet.is_swept else [reasons.nobody_sweeps(fleet.last_sweep)]
    return [*found, gettext("Operations are stuck.")] if Operation.objects.stuck().exists() else found


def _may_know(request: HttpRequest) -> bool:
    with contextlib.suppress(DatabaseError):  # sessions and users may be in another one
        return access.is_staff_with(request, "view_operation")
    return False
