from django.contrib import messages
from django.contrib.auth import get_user_model
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from django_task_safety import ObjectLocked
from django_task_safety.models import Operation
from notes import tasks
from notes.models import Note


def notes(request: HttpRequest) -> HttpResponse:
    """List the notes with what is going on with them; add one."""
    if request.method == "POST":
        owner, _ = get_user_model().objects.get_or_create(username="guest")
        Note.objects.create(owner=owner, title=request.POST["title"])
        return redirect("notes")
    newest_first = Prefetch("operations", Operation.objects.order_by("-created_at"))
    found = Note.objects.order_by("pk").prefetch_related(newest_first)
    return render(request, "notes/notes.html", {"notes": found})


@require_POST
def copy(request: HttpRequest, pk: int) -> HttpResponse:
    tasks.copy_note.delay(get_object_or_404(Note, pk=pk))
    return redirect("notes")


@require_POST
def publish(request: HttpRequest, pk: int) -> HttpResponse:
    tasks.publish_note.delay(get_object_or_404(Note, pk=pk))
    return redirect("notes")


@require_POST
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete a note, and the copies that wait; say so where it has to stay."""
    try:
        get_object_or_404(Note, pk=pk).delete()
    except ObjectLocked as refusal:
        messages.error(request, str(refusal))
    return redirect("notes")
