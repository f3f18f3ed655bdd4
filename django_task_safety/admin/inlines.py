"""An object's operations on the object's own page."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.core import checks
from django.forms.formsets import BaseFormSet, formset_factory
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from django_task_safety.admin import cells, links
from django_task_safety.ledger.keyset import NEWEST_FIRST
from django_task_safety.models import Operation


class _Shown(BaseFormSet):  # type: ignore[type-arg]
    """What Django takes for the forms of an inline: there is nothing to be filled in, and nothing to be saved."""

    initial_forms: Any = ()
    new_objects: Any = ()
    changed_objects: Any = ()
    deleted_objects: Any = ()

    inline: Any
    request: Any

    def __init__(self, *, instance: Any = None, queryset: Any = None, prefix: Any = None, **kwargs: Any) -> None:
        super().__init__(prefix=prefix)
        self.instance = instance

    @cached_property
    def found(self) -> list[Any]:
        """The operations, up to one more than are shown."""
        saved = self.instance is not None and self.instance.pk is not None
        return self.inline.read(self.request, self.instance) if saved else []

    @property
    def operations(self) -> list[Any]:
        """Those that are shown."""
        return self.found[: self.inline.shown]

    @property
    def all_url(self) -> str:
        """The list of all operations of the object, where there are more; "" where not."""
        if len(self.found) <= self.inline.shown:
            return ""
        about = self.found[0]
        return links.list_url(self.inline.admin_site, q=f"{about.subject_label}:{about.subject_id}")

    @classmethod
    def get_default_prefix(cls) -> str:
        return "task-safety-operations"

    def get_queryset(self) -> list[Any]:
        """There are no forms."""
        return []

    def is_valid(self) -> bool:
        return True

    def has_changed(self) -> bool:
        return False

    def save(self, commit: bool = True) -> list[Any]:
        """There is nothing to be saved."""
        return []


class _NoChecks:
    def check(self, inline_obj: Any, **kwargs: object) -> list[checks.CheckMessage]:
        """There is no foreign key to look for."""
        return []


class OperationsInline(admin.options.InlineModelAdmin):  # type: ignore[type-arg]
    """The newest operations of an object, read-only, for the admin of any model.

    Attributes:
        shown: How many there are at most.
    """

    model = Operation
    template = "admin/django_task_safety/operations_inline.html"
    checks_class = cast(Any, _NoChecks)
    verbose_name_plural = _("operations")
    fields = ()
    can_delete = False
    extra = max_num = 0
    shown = 10

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_operations(self, obj: Any) -> Any:
        """Return the operations of an object that are shown, as a queryset."""
        return Operation.objects.for_object(obj)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return []

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """Return what shows the operations of the object."""
        made: Any = formset_factory(forms.Form, formset=_Shown, extra=0)
        made.inline, made.request = self, request
        return made

    def read(self, request: HttpRequest, obj: Any) -> list[Any]:
        """Return the newest, with what is shown of them, one more than are shown."""
        found = self.get_operations(obj).order_by(*NEWEST_FIRST).defer(*cells.HEAVY)
        rows = list(found[: self.shown + 1])
        cells.furnish(rows, request, self.admin_site)
        return rows


class PendingOperationsInline(OperationsInline):
    """The same, of what is pending."""

    verbose_name_plural = _("pending operations")
    shown = 20

    def get_operations(self, obj: Any) -> Any:
        return super().get_operations(obj).pending()
