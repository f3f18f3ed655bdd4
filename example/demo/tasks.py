"""Copying that takes its time: what a delete of the note does to it is the user's choice."""

import time

from django.db import transaction

from django_task_safety import CANCEL, KEEP, PROTECT, current_operation, safe_task
from notes import work
from notes.models import Note

#: How often a copying says how far it is.
REPORTS = 25


def _copy(note: Note, copies: int) -> None:
    """SQLite has one writer, so the long part writes nothing but its progress; the copies come all at once."""
    operation = current_operation()
    drafts = []
    for number in range(copies):
        if number % max(1, copies // REPORTS) == 0:
            operation.report(number, copies, f"{number} of {copies} copies")
        time.sleep(work.COPYING)
        title = f"{note.title} ({number + 1})"
        drafts.append(Note(owner_id=note.owner_id, title=title, text=note.text, copy_of=note, copied_by=operation.pk))
    operation.report(copies, copies, f"{copies} of {copies} copies")
    with transaction.atomic():
        # Nobody else writes from here to the commit, so neither a cancel nor another attempt comes between.
        operation.check_cancelled()
        if not Note.all_objects.filter(copied_by=operation.pk).exists():
            Note.objects.bulk_create(drafts)


@safe_task(on_delete=PROTECT, atomic=False, title="Copy {note} {copies} times")
def copy_protected(note: Note, copies: int) -> None:
    """The note cannot be deleted meanwhile."""
    _copy(note, copies)


@safe_task(on_delete=CANCEL, atomic=False, title="Copy {note} {copies} times")
def copy_cancelled(note: Note, copies: int) -> None:
    """A delete of the note cancels it."""
    _copy(note, copies)


@safe_task(on_delete=KEEP, atomic=False, title="Copy {note} {copies} times")
def copy_kept(note: Note, copies: int) -> None:
    """It carries on although the note has been deleted."""
    _copy(note, copies)


BY_POLICY = {PROTECT: copy_protected, CANCEL: copy_cancelled, KEEP: copy_kept}
