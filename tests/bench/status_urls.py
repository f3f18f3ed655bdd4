"""The URLs of the benchmark of the status pages."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def nothing(request: HttpRequest) -> HttpResponse:
    """Answer who is logged in, and do nothing else."""
    return HttpResponse(str(request.user.pk))


urlpatterns = [path("nothing/", nothing), path("operations/", include("django_task_safety.urls"))]
