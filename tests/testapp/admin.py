from django.contrib import admin

from tests.testapp.models import Page

admin.site.register(Page)
