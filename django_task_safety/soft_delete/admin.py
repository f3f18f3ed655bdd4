"""The admin of soft-deletable models: removed objects can be found, restored, and deleted for good."""

import copy
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.contrib.admin.utils import NestedObjects, model_ngettext, quote
from django.db import models, router
from django.http import HttpRequest, HttpResponse
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_task_safety.errors import RestoreConflict
from django_task_safety.objects import delete_guard
from django_task_safety.soft_delete.collector import SoftRules
from django_task_safety.soft_delete.managers import with_removed


class RemovedFilter(admin.SimpleListFilter):
    """Shows what is not removed; with ``?removed=1`` what is, with ``?removed=all`` both."""

    title = _("removed")
    parameter_name = "removed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("1", _("Removed")), ("all", _("All"))]

    def choices(self, changelist: Any) -> Iterator[Any]:
        for number, choice in enumerate(super().choices(changelist)):
            yield choice if number else {**choice, "display": _("Not removed")}

    def queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        if self.value() == "all":
            return queryset
        return queryset.filter(is_removed=self.value() in {"1", "yes", "true", "True"})


class _NestedSoftRules(SoftRules, NestedObjects):
    """What goes, as a tree to be shown."""


class SoftDeleteAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """The admin of a ``SoftDeleteModel``.

    Deleting removes softly, and the confirmation shows what goes. Removed objects are found by the filter ``removed``,
    and have their change page. Two more actions: restore (permission: change), and delete for good (permission: delete;
    override `has_hard_delete_permission` to ask for more).
    """

    actions = ("restore_selected", "hard_delete_selected")
    _for_good = False

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        """What the model's default manager and other classes of the admin show, removed rows as well; not these where
        objects are offered to be chosen."""
        match = request.resolver_match
        if match is not None and match.url_name == "autocomplete":
            return super().get_queryset(request)
        with with_removed(self.model):
            return super().get_queryset(request)

    def get_list_filter(self, request: HttpRequest) -> Any:
        return [RemovedFilter, *super().get_list_filter(request)]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Removing takes more than a mark: it is for the actions."""
        return [*super().get_readonly_fields(request, obj), "is_removed", "removed_at"]

    def has_restore_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may restore: whoever may change."""
        return self.has_change_permission(request)

    def has_hard_delete_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may delete for good: whoever may delete."""
        return self.has_delete_permission(request)

    @admin.action(permissions=["restore"], description=_("Restore selected %(verbose_name_plural)s"))
    def restore_selected(self, request: HttpRequest, queryset: Any) -> None:
        """Bring back the removed ones among the selected, and what went with them."""
        objs = list(queryset.filter(is_removed=True))
        try:
            queryset.restore()
        except RestoreConflict as exc:
            self.message_user(request, str(exc), messages.ERROR)
            return
        for obj in objs:
            self.log_change(request, obj, gettext("Restored."))
        names = {"count": len(objs), "items": model_ngettext(self.opts, len(objs))}
        self.message_user(request, gettext("Restored %(count)d %(items)s.") % names, messages.SUCCESS)

    @admin.action(permissions=["hard_delete"], description=_("Delete selected %(verbose_name_plural)s for good"))
    def hard_delete_selected(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Delete the selected for good, after a page that shows what goes and asks for confirmation."""
        hard = copy.copy(self)
        template = "django_task_safety/hard_delete_selected_confirmation.html"
        vars(hard).update(_for_good=True, delete_selected_confirmation_template=template)
        return delete_selected(hard, request, queryset)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        if self._for_good:
            queryset.hard_delete()
        else:
            queryset.delete()

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Return what goes: a tree to be shown, counts, the permissions that are missing, and what protects."""
        if self._for_good:
            return super().get_deleted_objects(objs, request)
        collector = self.collected(objs)
        counts = Counter(obj._meta.verbose_name_plural for found in collector.model_objs.values() for obj in found)
        tree = collector.nested(self._shown)
        protected = [self._shown(obj) for obj in collector.protected]
        return tree, counts, self._forbidden(request, list(collector.model_objs)), protected

    def collected(self, objs: Any) -> NestedObjects:
        """Return what a delete of the objects takes along, and what protects it."""
        collector = _NestedSoftRules(router.db_for_write(self.model), origin=objs)
        with delete_guard.soft_collecting():
            collector.collect(objs)
        return collector

    def _forbidden(self, request: HttpRequest, found: Iterable[Any]) -> set[str]:
        """Return the names of the models that the user may not delete."""
        admins = [self.admin_site.get_model_admin(model) for model in found if self.admin_site.is_registered(model)]
        return {str(one.opts.verbose_name) for one in admins if not one.has_delete_permission(request)}

    def _shown(self, obj: models.Model) -> str:
        """Return the object's name, as a link to its page where it has one."""
        meta = obj._meta
        name = f"{self.admin_site.name}:{meta.app_label}_{meta.model_name}_change"
        try:
            url = reverse(name, args=(quote(obj.pk),))
        except NoReverseMatch:
            return f"{capfirst(str(meta.verbose_name))}: {obj}"
        return format_html('{}: <a href="{}">{}</a>', capfirst(str(meta.verbose_name)), url, obj)
