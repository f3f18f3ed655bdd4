"""The pages. What changes something is a POST and answers with a redirect, so that all of it works without script."""

from django.contrib import messages
from django.contrib.auth import get_user_model, login
from django.db.models import Count, Prefetch, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from demo import engine, processes, twin
from demo.live import fragment
from demo.models import CopyRequest
from demo.tasks import BY_POLICY
from django_task_safety import PROTECT, ObjectLocked
from django_task_safety.models import Operation
from notes.models import Note

MOST_COPIES = 1000


def back(request: HttpRequest) -> HttpResponse:
    """Return to the page that the button was on."""
    page = request.headers.get("Referer", "")
    return redirect(page if url_has_allowed_host_and_scheme(page, {request.get_host()}) else "notes")


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
    return render(request, "demo/notes.html", {"notes": found, "removed": removed, **engine.state()})


@require_POST
def copy(request: HttpRequest, pk: int) -> HttpResponse:
    """Copy a note in the background, here and on plain Celery."""
    note = get_object_or_404(Note, pk=pk)
    policy = request.POST.get("on_delete", PROTECT)
    copies = _number(request.POST.get("copies", ""), 200, MOST_COPIES)
    operation = BY_POLICY[policy if policy in BY_POLICY else PROTECT].enqueue(note, copies)
    counterpart = twin.make(note)
    CopyRequest.objects.create(
        note=note.pk, operation=operation.pk, plain_note=counterpart.pk, copies=copies, on_delete=operation.on_delete
    )
    _on_plain_celery(request, lambda: twin.copy(counterpart, copies))
    return back(request)


def _number(text: str, usual: int, most: int) -> int:
    return min(max(int(text), 1), most) if text.isdecimal() else usual


def _on_plain_celery(request: HttpRequest, call) -> None:
    """Do the same there; its failure is what its user would see."""
    try:
        call()
    except Exception as problem:
        messages.warning(request, f"Plain Celery could not be told, so there it is lost: {problem}")


@require_POST
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete a note; say what holds it where it has to stay."""
    note = get_object_or_404(Note, pk=pk)
    twin.delete(list(CopyRequest.objects.filter(note=pk).values_list("plain_note", flat=True)))
    try:
        note.delete()
    except ObjectLocked as refusal:
        holders = ", ".join(f"“{operation.title}”" for operation in refusal.protected_objects)
        messages.error(
            request, f"“{note}” is needed by {holders}, so it cannot be deleted now. ObjectLocked: {refusal}"
        )
    else:
        messages.success(request, f"“{note}” is deleted. It can be restored below.")
    return back(request)


@require_POST
def restore(request: HttpRequest, pk: int) -> HttpResponse:
    note = get_object_or_404(Note.removed_objects, pk=pk)
    note.restore()
    messages.success(request, f"“{note}” is back.")
    return back(request)


@require_POST
def cancel(request: HttpRequest, pk: str) -> HttpResponse:
    """Cancel an operation of the visitor's own."""
    operation = get_object_or_404(Operation.objects.requested_by(request.user), pk=pk)
    for wish in CopyRequest.objects.filter(operation=pk):
        _on_plain_celery(request, lambda wish=wish: twin.cancel_copying(wish.plain_note))
    if operation.cancel("The user cancelled it", by=request.user):
        messages.success(request, f"“{operation.title}” is cancelled.")
    else:
        messages.warning(request, f"“{operation.title}” had ended before.")
    return back(request)


def operation(request: HttpRequest, pk: str) -> HttpResponse:
    found = get_object_or_404(Operation.objects.requested_by(request.user), pk=pk)
    return fragment(request, "demo/progress.html", {"operation": found}, again=1 if found.is_pending else None)


def machinery(request: HttpRequest) -> HttpResponse:
    return fragment(request, "demo/machinery.html", engine.state())


@require_POST
def kill_worker(request: HttpRequest) -> HttpResponse:
    """Leave it no moment to tidy up. The one who started it starts another."""
    if processes.kill("worker"):
        messages.success(request, "The worker was killed with SIGKILL. Another one takes over in a few seconds.")
    else:
        messages.warning(request, "No worker is running just now.")
    return back(request)


@require_POST
def stop_broker(request: HttpRequest) -> HttpResponse:
    engine.broker().stop()
    messages.success(request, "The broker refuses every connection now. Ask for more work, then start it again.")
    return back(request)


@require_POST
def start_broker(request: HttpRequest) -> HttpResponse:
    engine.broker().start()
    messages.success(request, "The broker answers again.")
    return back(request)


@require_POST
def enter_admin(request: HttpRequest) -> HttpResponse:
    login(request, get_user_model().objects.get(username="demo"))
    return redirect("admin:index")
