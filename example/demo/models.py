from django.db import models

from django_task_safety.models import Operation
from notes.models import Note, PlainNote


class CopyRequest(models.Model):
    """What a user asked for, once on each side, so that the score can compare it with what came of it."""

    #: No foreign keys: what is asked for stays on record, whatever becomes of the rest.
    note = models.PositiveBigIntegerField()
    operation = models.UUIDField(unique=True)
    #: The same note on plain Celery; each request has a fresh one.
    plain_note = models.PositiveBigIntegerField(unique=True)
    copies = models.PositiveIntegerField()
    on_delete = models.CharField(max_length=10)

    def __str__(self) -> str:
        return f"{self.copies} copies of note {self.note}"

    @property
    def wanted(self) -> int:
        """None are, once the user has cancelled it or has deleted the note with it."""
        cancelled = Operation.objects.filter(pk=self.operation, state=Operation.State.CANCELLED)
        return 0 if cancelled.exists() else self.copies

    def made(self) -> int:
        return Note.all_objects.filter(copied_by=self.operation).count()

    def made_plainly(self) -> int:
        return PlainNote.objects.filter(copy_of=self.plain_note).count()
