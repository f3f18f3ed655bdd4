"""The same tasks on Celery alone, with the options that people reach for: the control of the story."""

from celery import shared_task

from notes import work
from notes.models import Order, PlainNote


@shared_task(acks_late=True, autoretry_for=(ConnectionError, TimeoutError), retry_backoff=1, max_retries=5)
def charge_order(number: int) -> None:
    work.charge(Order.objects.get(number=number))


@shared_task
def copy_note(note: dict, copies: int = 1) -> None:
    """Takes the note as it was, serialised: a model instance is not JSON."""
    work.copy_note(PlainNote(**note), copies)


@shared_task
def publish_note(pk: int) -> None:
    """Takes the note as it is when the task runs, as one is told to."""
    work.copy_note(PlainNote.objects.get(pk=pk))


@shared_task
def archive_note(pk: int) -> None:
    work.copy_note(PlainNote.objects.get(pk=pk))


@shared_task
def proofread(pk: int) -> None:
    work.proofread(PlainNote.objects.get(pk=pk))


@shared_task
def import_parts(pk: int) -> None:
    work.import_parts(PlainNote.objects.get(pk=pk))
