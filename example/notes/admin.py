from django.contrib import admin
from django.db.models import Count, Q

from django_task_safety.admin import OperationsInline, PendingOperationsAdminMixin, SoftDeleteAdmin
from django_task_safety.models import Operation
from notes.models import Charge, Note, Order, Score

admin.site.register([Charge, Score])


@admin.register(Order)
class OrderAdmin(PendingOperationsAdminMixin, admin.ModelAdmin):
    list_display = ("number", "user", "item", "status", "charged")
    inlines = [OperationsInline]


@admin.register(Note)
class NoteAdmin(PendingOperationsAdminMixin, SoftDeleteAdmin):
    """A note that is copied may not be deleted: the page says what holds it, and cancels it. Others can be restored."""

    inlines = (OperationsInline,)
    list_display = ("title", "owner", "pending")

    def get_queryset(self, request):
        pending = Count("operations", filter=Q(operations__state__in=Operation.PENDING))
        return super().get_queryset(request).annotate(pending=pending)

    @admin.display(ordering="pending")
    def pending(self, note: Note) -> int:
        return note.pending
