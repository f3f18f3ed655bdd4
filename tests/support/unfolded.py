"""The admin of operations as django-unfold draws it, in a process of its own: it is another set of apps.

``python -m tests.support.unfolded PORT`` serves it, and prints the key of a superuser's session and the pages.
"""

import json
import sys

import django
from django.conf import settings

from tests import settings as ours

ROOT = "/admin/django_task_safety/operation/"


def set_up() -> None:
    names = {name: getattr(ours, name) for name in dir(ours) if name.isupper()}
    names["INSTALLED_APPS"] = ["unfold", "django.contrib.staticfiles", *names["INSTALLED_APPS"]]
    # One connection for the threads of the server: the database is in memory.
    memory = {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:unfolded?mode=memory&cache=shared"}
    names["DATABASES"] = {"default": memory, "other": {**memory, "NAME": ":memory:"}}
    settings.configure(**names | {"ALLOWED_HOSTS": ["*"], "DEBUG": True})
    django.setup()


def register() -> None:
    from django.contrib import admin
    from unfold.admin import ModelAdmin

    from django_task_safety.admin import OperationAdmin
    from django_task_safety.models import Operation

    class Both(OperationAdmin, ModelAdmin):
        pass

    admin.site.unregister(Operation)
    admin.site.register(Operation, Both)


def pages() -> dict[str, list[str]]:
    """Return the addresses of the pages, with words that are on them."""
    from tests.support.rows import operation
    from tests.testapp.models import Page

    page = Page.objects.create(title="a page")
    about = {"subject_label": "testapp.page", "subject_id": str(page.pk), "subject_database": "default"}
    made = operation("failed", title="the title", error="the error", **about)
    operation("queued", title="the other", on_delete="protect", **about)
    operation("queued", title="the third")
    return {
        ROOT: ["the title", "Failed", "3 operations", "cancel_selected"],
        f"{ROOT}{made.pk}/change/": ["the error", "Retry"],
        f"{ROOT}{made.pk}/retry/": ["Yes, I"],
        "/admin/django_task_safety/worker/": ["No worker is running."],
        f"/admin/testapp/page/{page.pk}/change/": ["Pending operations", "the other"],
        f"/admin/testapp/page/{page.pk}/delete/": ["Cancel these operations and delete"],
    }


def main(port: str) -> None:
    set_up()
    register()

    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.test import Client

    call_command("migrate", verbosity=0)
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    print(json.dumps({"session": client.cookies["sessionid"].value, "pages": pages()}), flush=True)
    call_command("runserver", f"127.0.0.1:{port}", use_reloader=False, verbosity=0)


if __name__ == "__main__":
    main(*sys.argv[1:])
