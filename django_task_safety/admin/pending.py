"""The admin of a model whose objects have operations: what is pending is seen, also where it forbids a delete."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import NestedObjects, unquote
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.db import router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext

from django_task_safety.admin import acting, cells
from django_task_safety.admin.inlines import PendingOperationsInline
from django_task_safety.conf import conf
from django_task_safety.errors import ObjectLocked
from django_task_safety.models import Operation
from django_task_safety.objects import conflicts
from django_task_safety.objects.conflicts import LISTED
from django_task_safety.values import codec

#: The name of the button, and of the operations that it is about.
CANCEL_AND_DELETE, SEEN = "cancel_and_delete", "operation"


class PendingOperationsAdminMixin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Shows on an object's page what is pending on it. Where an operation protects the object from being deleted, the
    page that says so names the operations, and has a button that cancels them and deletes.

    To be named before another class of the admin, ``SoftDeleteAdmin`` among them.
    """

    delete_confirmation_template = "admin/django_task_safety/delete_confirmation.html"
    delete_selected_confirmation_template = delete_confirmation_template

    class Media:
        css = {"all": ["django_task_safety/admin.css"]}

    def get_inlines(self, request: HttpRequest, obj: Any = None) -> Any:
        """Add what is pending, where there is an object."""
        own = [] if obj is None else [PendingOperationsInline]
        return [*super().get_inlines(request, obj), *own]

    def collected(self, objs: Any) -> NestedObjects:
        """Return what a delete of the objects takes along, and what protects it."""
        collect = getattr(super(), "collected", None)
        if collect is not None:
            found: NestedObjects = collect(objs)
            return found
        collector = NestedObjects(router.db_for_write(self.model), origin=objs)
        collector.collect(objs)
        return collector

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Django's page; with the button pressed, cancel what protects the object, and delete it, or do neither."""

        def objs() -> list[Any]:
            obj = self.get_object(request, unquote(object_id))
            return [] if obj is None else [obj]

        seen = {
            "djangos_template": "admin/delete_confirmation.html",
            "protecting": lambda: self._protecting(request, objs()),
            **(extra_context or {}),
        }
        delete = partial(super().delete_view, request, object_id, seen)
        response: HttpResponse = self._deleted(request, objs, delete)
        return response

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Django's list, whose action that deletes the selected has the button as well."""
        ticked = request.POST.getlist(ACTION_CHECKBOX_NAME)

        def objs() -> list[Any]:
            try:
                return list(self.get_queryset(request).filter(pk__in=map(self.opts.pk.to_python, ticked)))
            except ValidationError as exc:
                raise BadRequest("; ".join(exc.messages)) from exc

        response: HttpResponse = self._deleted(request, objs, partial(super().changelist_view, request, extra_context))
        context = getattr(response, "context_data", None) or {}
        if context.get("protected"):
            context["protecting"] = lambda: self._protecting(request, objs())
        return response

    def _deleted(self, request: HttpRequest, objs: Callable[[], list[Any]], delete: Callable[[], Any]) -> Any:
        """Delete objects, where the button was pressed with what protects them; and say so where that is refused."""
        try:
            if request.method == "POST" and CANCEL_AND_DELETE in request.POST:
                return self._cancel_and_delete(request, objs, delete)
            return delete()
        except ObjectLocked as exc:
            said = gettext("Nothing was changed: something else was asked for meanwhile. %(error)s")
            self.message_user(request, said % {"error": exc.message}, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def _cancel_and_delete(self, request: HttpRequest, objs: Callable[[], list[Any]], delete: Callable[[], Any]) -> Any:
        shown = request.POST.getlist(SEEN)
        with transaction.atomic(using=router.db_for_write(self.model)), transaction.atomic(using=conf().DATABASE):
            found = objs()
            may_delete = all(self.has_delete_permission(request, obj) for obj in found or [None])
            if not (may_delete and acting.CANCEL.allowed(request.user)):
                raise PermissionDenied
            protecting = self._operations(found)
            if unseen := [one for one in protecting if str(one.pk) not in shown]:
                raise conflicts.locked(unseen, "cannot be deleted")
            reason = gettext("Deleted: %(objects)s.") % {"objects": ", ".join(str(obj) for obj in found)}
            acting.act(acting.CANCEL, [one.pk for one in protecting], request.user, codec.printable(reason, 255))
            response = delete()
            if isinstance(response, TemplateResponse):
                # Something else protects it: the page that says so, instead of a delete.
                transaction.set_rollback(True, using=conf().DATABASE)
                response = HttpResponseRedirect(request.get_full_path())
        return response

    def _operations(self, objs: list[Any]) -> list[Operation]:
        found = [one for one in self.collected(objs).protected if isinstance(one, Operation)]
        return sorted(found, key=lambda one: one.created_at)

    def _protecting(self, request: HttpRequest, objs: Any) -> dict[str, Any]:
        """Return what the template shows of the operations that protect objects, and whether the button helps."""
        protected = list(self.collected(objs).protected)
        operations = [one for one in protected if isinstance(one, Operation)]
        cells.furnish(operations, request, self.admin_site)
        others = len(operations) < len(protected)
        may_cancel = not others and len(operations) < LISTED and acting.CANCEL.allowed(request.user)
        return {"operations": operations, "others": others, "may_cancel": may_cancel}
