"""The example's pages and its admin, in a process with the example's settings."""

import os
import subprocess
import sys

from tests.support.workers import ROOT

VISIT = """
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client

from notes.models import Note

call_command("migrate", verbosity=0)
User.objects.create_superuser("ada", password="ada")
browser = Client(headers={"host": "localhost"})
browser.login(username="ada", password="ada")
browser.post("/", {"title": "Shopping"})
note = Note.objects.get()
for what in ("copy", "publish", "delete"):
    assert browser.post(f"/notes/{note.pk}/{what}/").url == "/", what
page = browser.get("/").content.decode()
print("listed:", "queued, queued" in page, "cannot be deleted" in page)
confirmation = browser.get(f"/admin/notes/note/{note.pk}/delete/").content.decode()
print("admin:", "publish_note" in confirmation, "copy_note" in confirmation, "Yes, I" in confirmation)
print("changelist:", 'field-pending">2<' in browser.get("/admin/notes/note/").content.decode())
note.operations.filter(task="notes.tasks.publish_note").cancel()
browser.post(f"/notes/{note.pk}/delete/")
print("deleted:", Note.objects.count(), Note.removed_objects.count(), note.operations.pending().count())
print("removed:", "Shopping" in browser.get("/admin/notes/note/?removed=1").content.decode())
"""


def test_the_examples_pages_and_admin_show_what_holds_a_note(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "TASK_SAFETY"))}
    command = [sys.executable, str(ROOT / "example" / "manage.py"), "shell", "--verbosity", "0", "-c", VISIT]
    environment["EXAMPLE_HOME"] = str(tmp_path)
    visit = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert visit.stdout.splitlines() == [
        "listed: True True",
        "admin: True False False",
        "changelist: True",
        "deleted: 0 1 0",
        "removed: True",
    ], visit.stdout + visit.stderr
