from django.contrib import admin

from django_task_safety.admin import OperationsInline, PendingOperationsAdminMixin
from tests.testapp.models import City, Page

admin.site.register(City)


@admin.register(Page)
class PageAdmin(PendingOperationsAdminMixin, admin.ModelAdmin):
    inlines = (OperationsInline,)
    fields = ("title",)
