"""The state of worker and broker, and the buttons that do harm to them."""

from django.contrib import messages
from django.contrib.auth import get_user_model, login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from demo import engine, processes
from demo.live import fragment
from demo.views.pages import back


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
