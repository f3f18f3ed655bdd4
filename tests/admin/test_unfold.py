"""The admin of operations where django-unfold draws it."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.skipif(find_spec("unfold") is None, reason="pip install django-unfold")

#: In a process of its own: it is another set of apps.
CODE = """
import django, re
from django.conf import settings
from tests import settings as ours
names = {name: getattr(ours, name) for name in dir(ours) if name.isupper()}
names["INSTALLED_APPS"] = ["unfold", *names["INSTALLED_APPS"]]
memory = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
names["DATABASES"] = {name: dict(memory) for name in ("default", "other")}
names["ALLOWED_HOSTS"] = ["testserver"]
settings.configure(**names)
django.setup()

from django.contrib import admin
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from unfold.admin import ModelAdmin

from django_task_safety.admin import OperationAdmin
from django_task_safety.models import Operation
from tests.support.rows import operation
from tests.testapp.models import Page

class Both(OperationAdmin, ModelAdmin):
    pass

admin.site.unregister(Operation)
admin.site.register(Operation, Both)
call_command("migrate", verbosity=0)
client = Client()
client.force_login(User.objects.create_superuser("admin"))
page = Page.objects.create(title="a page")
about = {"subject_label": "testapp.page", "subject_id": str(page.pk), "subject_database": "default"}
made = operation("failed", title="the title", error="the error", **about)
waiting = operation("queued", title="the other", on_delete="protect", **about)
root = "/admin/django_task_safety/operation/"
for url, words in {
    root: ["the title", "Failed", "2 operations", "cancel_selected"],
    f"{root}{made.pk}/change/": ["the error", "Retry"],
    f"{root}{made.pk}/retry/": ["Yes, I"],
    "/admin/django_task_safety/worker/": ["No worker is running."],
    f"/admin/testapp/page/{page.pk}/change/": ["Pending operations", "the other"],
    f"/admin/testapp/page/{page.pk}/delete/": ["Cancel these operations and delete"],
}.items():
    answer = client.get(url)
    assert answer.status_code == 200, (url, answer)
    assert all(word in answer.content.decode() for word in words), (url, answer.content.decode())
print("all shown")
"""


def test_all_pages_are_shown_by_unfold():
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "all shown", done.stdout[-3000:] + done.stderr
