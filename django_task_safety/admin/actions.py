"""The admin's actions on operations: asked for, confirmed, done, and said."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_task_safety.admin import acting, bulk, links, looking
from django_task_safety.admin.acting import VERBS, Outcome, Verb
from django_task_safety.models import Operation
from django_task_safety.values import codec

#: So many are done at once; more are an operation of their own.
AT_ONCE = 500
#: So many are listed where one is asked to confirm.
LISTED = 20
_TEMPLATE = "admin/django_task_safety/operation/confirm.html"


class Actions:
    """Actions for the ticked and for all that match, and the same for one operation, from its page."""

    model: Any
    opts: Any
    media: Any
    admin_site: Any
    message_user: Any
    get_object: Any
    has_view_permission: Any
    get_changelist_instance: Any

    def has_cancel_permission(self, request: Any) -> bool:
        """Return whether the user may cancel operations."""
        return VERBS["cancel"].allowed(request.user)

    def has_retry_permission(self, request: Any) -> bool:
        """Return whether the user may retry and rerun operations."""
        return VERBS["retry"].allowed(request.user)

    @admin.action(permissions=["cancel"], description=_("Cancel selected %(verbose_name_plural)s"))
    def cancel_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Cancel those that are pending, with a reason."""
        return self._act_on_many(request, queryset, VERBS["cancel"])

    @admin.action(permissions=["retry"], description=_("Retry selected %(verbose_name_plural)s"))
    def retry_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Queue again those that failed or were cancelled."""
        return self._act_on_many(request, queryset, VERBS["retry"])

    @admin.action(permissions=["retry"], description=_("Rerun selected %(verbose_name_plural)s"))
    def rerun_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Run those that succeeded once more, as new work."""
        return self._act_on_many(request, queryset, VERBS["rerun"])

    def act_view(self, request: HttpRequest, object_id: str, what: str) -> HttpResponse:
        """Do something with one operation: a page that asks, and what comes of it."""
        verb, operation = VERBS[what], self.get_object(request, unquote(object_id))
        if not verb.allowed(request.user) or not self.has_view_permission(request, operation):
            raise PermissionDenied
        if operation is None:
            raise Http404(gettext("There is no such operation."))
        if request.method != "POST":
            return self._confirm(
                request, verb, [operation], "1", back=links.operation_url(self.admin_site, operation.pk)
            )
        self._say(request, verb, acting.act(verb, [operation.pk], request.user, _reason(request)))
        return HttpResponseRedirect(links.operation_url(self.admin_site, operation.pk))

    def _act_on_many(self, request: HttpRequest, queryset: Any, verb: Verb) -> HttpResponse | None:
        across = request.POST.get("select_across") == "1"
        if request.POST.get("post") != "yes":
            listed = list(queryset[: LISTED + 1])
            ticked = request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)
            count = self.get_changelist_instance(request).shown_count if across else f"{len(ticked):,}"
            return self._confirm(
                request,
                verb,
                listed,
                count,
                ticked=ticked[:1] if across else ticked,
                across=across,
                back=request.get_full_path(),
            )
        if across and (operation := self._in_the_background(request, queryset, verb)):
            self.message_user(request, gettext("This is done in the background."), messages.INFO)
            return HttpResponseRedirect(links.operation_url(self.admin_site, operation.pk))
        pks = list(queryset.values_list("pk", flat=True)[:AT_ONCE])
        self._say(request, verb, acting.act(verb, pks, request.user, _reason(request)))
        return None

    def _in_the_background(self, request: HttpRequest, queryset: Any, verb: Verb) -> Operation | None:
        """Enqueue the operation that does it with all that match, unless those are known to be few."""
        found = self.get_changelist_instance(request)
        known = found.page.edge is None and found.page.count <= min(AT_ONCE, looking.MOST)
        return None if known else bulk.enqueue(verb, request, self.admin_site, _reason(request))

    def _confirm(self, request: HttpRequest, verb: Verb, listed: list[Any], count: str, **more: Any) -> HttpResponse:
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            **{"title": gettext("Are you sure?"), "subtitle": None, "opts": self.opts, "media": self.media},
            **{"verb": verb, "listed": listed[:LISTED], "more": len(listed) > LISTED, "count": count},
            **{"checkbox_name": helpers.ACTION_CHECKBOX_NAME, **more},
        }
        return TemplateResponse(request, _TEMPLATE, context)

    def _say(self, request: HttpRequest, verb: Verb, outcome: Outcome) -> None:
        if outcome.done:
            self.message_user(request, str(verb.said) % {"count": f"{outcome.done:,}"}, messages.SUCCESS)
        for why, count in outcome.skipped.items():
            self.message_user(request, acting.skipped(count, why), messages.WARNING)


def _reason(request: HttpRequest) -> str:
    return codec.printable(request.POST.get("reason", "").strip(), 255)
