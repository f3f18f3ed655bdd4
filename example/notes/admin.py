from django.contrib import admin
from django.db.models import Count, Q

from django_task_safety.admin import SoftDeleteAdmin
from django_task_safety.models import Operation
from notes.models import Charge, Note, Order, Score

admin.site.register([Charge, Order, Score])


@admin.register(Note)
class NoteAdmin(SoftDeleteAdmin):
    """A note that waits to be published cannot be deleted, and the page says what holds it; others can be restored."""

    list_display = ("title", "owner", "pending")

    def get_queryset(self, request):
        pending = Count("operations", filter=Q(operations__state__in=Operation.PENDING))
        return super().get_queryset(request).annotate(pending=pending)

    @admin.display(ordering="pending")
    def pending(self, note: Note) -> int:
        return note.pending
