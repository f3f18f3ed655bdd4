"""The example's pages and its admin, in a process with the example's settings."""

import os
import subprocess
import sys

from tests.support.workers import ROOT

PREPARE = """
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from notes.models import Note, Order

call_command("seed")
browser = Client(headers={"host": "localhost"})
"""

VISIT = """
note = Note.objects.get(title="Shopping list")
assert browser.post("/enter-admin/").url == "/admin/"
browser.post(f"/notes/{note.pk}/copy/", {"copies": 3, "on_delete": "cancel"})
browser.post(f"/notes/{note.pk}/copy/", {"copies": 4, "on_delete": "protect"})
browser.post(f"/notes/{note.pk}/delete/")
page = browser.get("/").content.decode()
print("listed:", page.count("waiting</p>"), "ObjectLocked" in page)
confirmation = browser.get(f"/admin/notes/note/{note.pk}/delete/").content.decode()
print("admin:", "list 4 times" in confirmation, "list 3 times" in confirmation, "Yes, I" in confirmation)
print("changelist:", 'field-pending">2<' in browser.get("/admin/notes/note/").content.decode())
note.operations.filter(task="demo.tasks.copy_protected").cancel()
browser.post(f"/notes/{note.pk}/delete/")
print("deleted:", Note.removed_objects.get() == note, note.operations.pending().count())
print("removed:", "Shopping" in browser.get("/admin/notes/note/?removed=1").content.decode())
browser.post(f"/notes/{note.pk}/restore/")
print("restored:", note in Note.objects.all())
"""


def run(tmp_path, code: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "TASK_SAFETY"))}
    command = [sys.executable, str(ROOT / "example" / "manage.py"), "shell", "--verbosity", "0", "-c", code]
    environment["EXAMPLE_HOME"] = str(tmp_path)
    visit = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert not visit.returncode, visit.stderr
    return visit.stdout.splitlines()


def test_the_examples_pages_and_admin_show_what_holds_a_note(tmp_path):
    assert run(tmp_path, PREPARE + VISIT) == [
        "listed: 2 True",
        "admin: True False False",
        "changelist: True",
        "deleted: True 0",
        "removed: True",
        "restored: True",
    ]


def test_before_its_tables_are_made_the_example_says_how_to_make_them(tmp_path):
    code = "from django.test import Client; page = Client(headers={'host': 'localhost'}).get('/')"
    assert run(tmp_path, f"{code}; print(page.status_code, page.content.decode())") == [
        "503 The tables are missing. Run `python example/manage.py migrate`, or see it all with `… demo`.",
        "",
    ]


def test_while_its_database_is_away_the_examples_pages_of_operations_say_so(tmp_path):
    (tmp_path / "shop.sqlite3").mkdir()
    code = "from django.test import *; one = Client(headers={'host': 'localhost'}); one.cookies['sessionid'] = 32 * 'a'"
    pages = ("/operations/", "/operations/health/", "/operations/metrics/", "/admin/django_task_safety/operation/")
    assert run(tmp_path, f"{code}; print(*(one.get(page).status_code for page in {pages}))") == ["503 503 503 503"]
