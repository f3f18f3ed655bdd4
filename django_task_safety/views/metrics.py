"""What Prometheus scrapes, where its client is installed; closed unless who asks may see operations."""

from importlib import import_module

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from django_task_safety.views import access


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics as text.

    Raises:
        Http404: If the client of Prometheus is not installed, or who asks may not see them.
    """
    if not access.may_see_metrics(request):
        raise Http404
    try:
        prometheus = import_module("django_task_safety.prometheus")
    except ImportError:
        raise Http404 from None
    text, content_type = prometheus.exposition()
    return HttpResponse(text, content_type=content_type)
