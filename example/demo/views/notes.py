"""The page of notes. What changes something is a POST and answers with a redirect, so it works without script."""

from django.contrib import messages
from django.db.models import Count, Prefetch, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from demo import twin
from demo.models import CopyRequest
from demo.tasks import BY_POLICY
from demo.views.pages import back, number, on_plain_celery
from django_task_safety import PROTECT, ObjectLocked
from django_task_safety.models import Operation
from notes.models import Note

MOST_COPIES = 1000


def notes(request: HttpRequest) -> HttpResponse:
    """List the notes with what is going on with them; add one."""
    if request.method == "POST":
        title = request.POST.get("title", "").strip()[:200]
        if title:
            Note.objects.create(owner=request.user, title=title, text=request.POST.get("text", ""))
        return redirect("notes")
    newest_first = Prefetch("operations", Operation.objects.order_by("-created_at"))
    copies = Count("note", filter=Q(note__is_removed=False))
    found = Note.objects.filter(copy_of=None).order_by("pk").annotate(copies=copies).prefetch_related(newest_first)
    removed = Note.removed_objects.filter(copy_of=None).order_by("-removed_at")
    return render(request, "demo/notes.html", {"notes": found, "removed": removed})


@require_POST
def copy(request: HttpRequest, pk: int) -> HttpResponse:
    """Copy a note in the background, here and on plain Celery."""
    note = get_object_or_404(Note, pk=pk)
    policy = request.POST.get("on_delete", PROTECT)
    copies = number(request.POST.get("copies", ""), 200, MOST_COPIES)
    operation = BY_POLICY[policy if policy in BY_POLICY else PROTECT].enqueue(note, copies)
    counterpart = twin.make(note)
    CopyRequest.objects.create(
        note=note.pk, operation=operation.pk, plain_note=counterpart.pk, copies=copies, on_delete=operation.on_delete
    )
    on_plain_celery(request, lambda: twin.copy(counterpart, copies))
    return back(request)


@require_POST
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete a note; say what holds it where it has to stay."""
    note = get_object_or_404(Note, pk=pk)
    twin.delete(list(CopyRequest.objects.filter(note=pk).values_list("plain_note", flat=True)))
    try:
        note.delete()
    except ObjectLocked as refusal:
        holders = ", ".join(f"“{one.title}” is {one.get_state_display()}" for one in refusal.protected_objects)
        messages.error(request, f"ObjectLocked: “{note}” cannot be deleted, for {holders}. Wait for it, or cancel it.")
    else:
        messages.success(request, f"“{note}” is deleted. It can be restored below.")
    return back(request)


@require_POST
def restore(request: HttpRequest, pk: int) -> HttpResponse:
    note = get_object_or_404(Note.removed_objects, pk=pk)
    note.restore()
    messages.success(request, f"“{note}” is back.")
    return back(request)
