"""The admin of operations: rows that nobody edits, and what one may do with them."""

from __future__ import annotations

import contextlib
import uuid
from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext

from django_task_safety import presentation
from django_task_safety.admin import cells, detail, filters, links, live, searching
from django_task_safety.admin.acting import VERBS
from django_task_safety.admin.actions import Actions
from django_task_safety.admin.changelist import OperationChangeList
from django_task_safety.models import Operation

_TEMPLATES = "admin/django_task_safety/operation/"


class OperationAdmin(Actions, cells.Cells, admin.ModelAdmin):  # type: ignore[type-arg]
    """The operations: read-only rows, and the actions cancel, retry and rerun.

    Permissions: ``view_operation``; ``cancel_operation`` and ``retry_operation`` for the actions; and, to read
    arguments, results and tracebacks, ``view_operation_arguments``.
    """

    list_display = (
        "shown_title",
        "shown_state",
        "shown_queue",
        "shown_object",
        "shown_requester",
        "shown_age",
        "shown_duration",
        "shown_attempt",
    )
    list_display_links = ("shown_title",)
    list_filter = filters.FILTERS
    list_per_page = 50
    sortable_by = ()
    search_fields = ("id",)
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = ("cancel_selected", "retry_selected", "rerun_selected")

    class Media:
        css = {"all": ["django_task_safety/admin.css"]}
        js = ["django_task_safety/live.js", "django_task_safety/admin.js"]

    @property
    def drawn_by_unfold(self) -> bool:
        """Whether this is django-unfold's class as well, which draws rows, actions and the head in its own way."""
        return hasattr(self, "list_fullwidth")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes one. Where another object's page asks, what protects that object is to be shown, and not that
        a permission is missing."""
        match, own = request.resolver_match, f"{self.opts.app_label}_{self.opts.model_name}_"
        return obj is not None and match is not None and not str(match.url_name).startswith(own)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Only the filters: a lookup in any column could be asked what the arguments are, letter by letter."""
        return lookup in {one.parameter_name for one in self.list_filter if hasattr(one, "parameter_name")}

    def get_list_display(self, request: HttpRequest) -> Any:
        """Among the stuck ones, also why each of them does not move."""
        shown = list(super().get_list_display(request))
        return [*shown[:2], "shown_why", *shown[2:]] if filters.StuckFilter.parameter_name in request.GET else shown

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[OperationChangeList]:
        return OperationChangeList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        term = search_term.strip()
        return (searching.matching(queryset, term) if term else queryset), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list; its counts stop."""
        try:
            response = super().changelist_view(request, extra_context)
        except ValidationError as exc:  # of what is ticked, which Django takes as it comes
            raise BadRequest("; ".join(exc.messages)) from exc
        context = getattr(response, "context_data", None)
        if context and "cl" in context:
            said = gettext("All %(count)s that match are selected") % {"count": context["cl"].shown_count}
            url = f"{links.url_of(self.admin_site, self.opts, 'live_list')}?{request.GET.urlencode()}"
            context.update(selection_note_all=said, live_url=url, live_every=live.LOOK, title=gettext("Operations"))
        return response

    def live_list(self, request: HttpRequest) -> HttpResponse:
        """The rows of the list, as they are now."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            found = self.get_changelist_instance(request)
        except IncorrectLookupParameters as exc:
            raise Http404 from exc
        request.current_app = self.admin_site.name
        return live.fragment(request, f"{_TEMPLATES}rows.html", {"cl": found, "opts": self.opts}, live.LOOK)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of one operation."""
        operation = self.get_object(request, unquote(object_id))
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request, operation):
            raise PermissionDenied
        if operation is None:
            return self._duplicate(object_id)
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            **{"title": cells.title_of(operation), "subtitle": None, "opts": self.opts, "media": self.media},
            **{"object_id": object_id, "has_view_permission": True, "drawn_by_unfold": self.drawn_by_unfold},
            **{"live_url": links.operation_url(self.admin_site, operation.pk, "live"), "live": operation.is_pending},
            **detail.context(operation, request, self.admin_site),
            **(extra_context or {}),
        }
        return TemplateResponse(request, self.change_form_template or f"{_TEMPLATES}change_form.html", context)

    def live_detail(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What the page of an operation says of it, as it is now."""
        operation = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, operation):
            raise PermissionDenied
        if operation is None:
            raise Http404
        context = {"opts": self.opts, **detail.context(operation, request, self.admin_site)}
        return live.fragment(request, f"{_TEMPLATES}shown.html", context, presentation.next_poll(operation))

    def _duplicate(self, object_id: str) -> HttpResponse:
        """Lead from the id of a duplicate to the operation that answers for it."""
        with contextlib.suppress(ValueError):
            found = Operation.all_rows.filter(pk=uuid.UUID(unquote(object_id))).values_list("waits_for", flat=True)
            if waits_for := found.first():
                return HttpResponseRedirect(links.operation_url(self.admin_site, waits_for))
        raise Http404(gettext("There is no such operation."))

    def get_urls(self) -> list[Any]:
        info = f"{self.opts.app_label}_{self.opts.model_name}"
        view = self.admin_site.admin_view
        own = [path("live/", view(self.live_list), name=f"{info}_live_list")]
        own += [path("<path:object_id>/live/", view(self.live_detail), name=f"{info}_live")]
        for what in VERBS:
            acting = partial(self.act_view, what=what)
            own.append(path(f"<path:object_id>/{what}/", view(acting), name=f"{info}_{what}"))
        return own + super().get_urls()
