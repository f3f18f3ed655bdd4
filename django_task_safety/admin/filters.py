"""What the list is filtered by."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.db import models
from django.db.models import Q
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from django_task_safety import presentation, registry
from django_task_safety.admin.looking import Plan
from django_task_safety.objects.relation import is_watched
from django_task_safety.record import State
from django_task_safety.values.clock import After
from django_task_safety.values.identity import root_model

_PENDING = tuple(Q(state=state) for state in (State.QUEUED, State.RUNNING))
_HOURS = {"hour": 1, "day": 24}


class _Filter(admin.SimpleListFilter):
    """A filter by one column, which also takes what is not among its choices."""

    column = ""

    def lookups(self, request: Any, model_admin: Any) -> list[tuple[str, Any]]:
        found = dict(self.offered())
        if (value := self.value()) is not None:
            found.setdefault(value, value)
        return list(found.items())

    def offered(self) -> Iterable[tuple[str, Any]]:
        return ()

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset if self.value() is None else queryset.filter(**{self.column: self.value()})


class StateFilter(_Filter):
    """``?state=failed``"""

    title, parameter_name, column = _("state"), "state", "state"

    def offered(self) -> Iterable[tuple[str, Any]]:
        # As the list says them.
        return [(state.value, word) for state, word in presentation.state_words().items()]

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset.none() if self.value() not in (None, *State.values) else super().queryset(request, queryset)


class TaskFilter(_Filter):
    """``?task=shop.tasks.charge``, of those that this process knows."""

    title, parameter_name, column = _("task"), "task", "task"

    def offered(self) -> Iterable[tuple[str, Any]]:
        return ((name, name) for name in registry.safe_task_names())


class QueueFilter(_Filter):
    """``?queue=celery``"""

    title, parameter_name, column = _("queue"), "queue", "queue"

    def offered(self) -> Iterable[tuple[str, Any]]:
        names = {app.conf.task_default_queue for app in registry.apps()}
        names |= {queue for task in registry.safe_tasks() if isinstance(queue := getattr(task, "queue", None), str)}
        return ((name, name) for name in sorted(names))


class ModelFilter(_Filter):
    """``?model=shop.order``: by the object's root model, of those whose deletes look at operations."""

    title, parameter_name, column = _("object"), "model", "subject_label"

    def offered(self) -> Iterable[tuple[str, Any]]:
        return sorted(_watched().items())


class RequesterFilter(_Filter):
    """``?requested_by=5``, to which the name of whoever asked leads."""

    title, parameter_name, column = _("requested by"), "requested_by", "requested_by"


class StuckFilter(_Filter):
    """``?stuck=yes``"""

    title, parameter_name = _("progress"), "stuck"

    def offered(self) -> Iterable[tuple[str, Any]]:
        return [("yes", _("Should have moved, and did not"))]

    def queryset(self, request: Any, queryset: Any) -> Any:
        return queryset if self.value() is None else queryset.stuck()


class FailedFilter(_Filter):
    """``?failed=hour``"""

    title, parameter_name = _("failure"), "failed"

    def offered(self) -> Iterable[tuple[str, Any]]:
        return [("hour", _("In the last hour")), ("day", _("In the last day"))]

    def queryset(self, request: Any, queryset: Any) -> Any:
        if self.value() is None:
            return queryset
        since = timedelta(hours=_HOURS.get(str(self.value()), 1)).total_seconds()
        return queryset.filter(state=State.FAILED, ended_at__gte=After(-since))


FILTERS = (StateFilter, StuckFilter, FailedFilter, TaskFilter, QueueFilter, ModelFilter, RequesterFilter)


def plan(given: dict[str, str]) -> Plan:
    """Return how the rows are found that the filters given in a query string let through."""
    state, others = given.get("state"), given.keys() - {"state"}
    if "stuck" in others:
        return Plan(_PENDING, bounded=True)
    if "failed" in others:
        return Plan((Q(state=State.FAILED),), bounded=True)
    # What succeeded is not in the index of states: most of it would be.
    if state in State.values and state != State.SUCCEEDED:
        return Plan((Q(state=state),), bounded=bool(others))
    return Plan(bounded=bool(given))


def _watched() -> dict[str, str]:
    roots: set[type[models.Model]] = {root_model(model) for model in apps.get_models() if is_watched(model)}
    return {root._meta.label_lower: str(capfirst(root._meta.verbose_name)) for root in roots}
