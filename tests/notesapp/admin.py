from django.contrib import admin

from django_task_safety.admin import PendingOperationsAdminMixin, SoftDeleteAdmin
from tests.notesapp.models import Copy, Note


@admin.register(Note)
class NoteAdmin(PendingOperationsAdminMixin, SoftDeleteAdmin):
    list_display = ("title",)
    list_filter = ("copied",)
    ordering = ("title",)
    search_fields = ("title",)
    fields = ("title", "is_removed")


@admin.register(Copy)
class CopyAdmin(SoftDeleteAdmin):
    autocomplete_fields = ("note",)
