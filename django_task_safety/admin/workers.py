"""The admin of workers, and with them of the queues: what runs, what waits, and what is wrong."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.translation import gettext

from django_task_safety import overview as overviews
from django_task_safety import presentation
from django_task_safety.admin import cells, links, live
from django_task_safety.overview import Count, Overview, QueueStatus, WorkerStatus, overview

_TEMPLATES = "admin/django_task_safety/worker/"


class WorkerAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Workers and queues, read-only. Permission: ``view_worker``."""

    list_display = ("name", "host")
    search_fields = ()
    show_full_result_count = False
    actions = None

    class Media:
        css = {"all": ["django_task_safety/admin.css"]}
        js = ["django_task_safety/live.js"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """What runs and what waits, at one moment."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            **{"title": gettext("Workers and queues"), "subtitle": None, "opts": self.opts, "media": self.media},
            **{"live_url": links.url_of(self.admin_site, self.opts, "live_list"), "live_every": live.LOOK},
            **self._shown(request),
            **(extra_context or {}),
        }
        return TemplateResponse(request, self.change_list_template or f"{_TEMPLATES}change_list.html", context)

    def live_list(self, request: HttpRequest) -> HttpResponse:
        """The same without the page around it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return live.fragment(request, f"{_TEMPLATES}shown.html", self._shown(request), live.LOOK)

    def get_urls(self) -> list[Any]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_live_list"
        return [path("live/", self.admin_site.admin_view(self.live_list), name=name), *super().get_urls()]

    def _shown(self, request: HttpRequest) -> dict[str, Any]:
        seen = overview()
        request.current_app = self.admin_site.name
        return {
            **{"overview": seen, "counts": self._counts(seen), "last_sweep": cells.moment(seen.last_sweep)},
            "queues": [self._queue(queue) for queue in seen.queues],
            "workers": [self._worker(worker) for worker in seen.workers],
        }

    def _counts(self, seen: Overview) -> list[tuple[str, str, str]]:
        """Return the states with their numbers, and the lists of those."""
        states = [
            (str(state.label), str(count), links.list_url(self.admin_site, state=state.value))
            for state, count in seen.counts.items()
        ]
        stuck = Count(seen.stuck, more=seen.stuck >= overviews.COUNT)
        return [*states, (gettext("stuck"), str(stuck), links.list_url(self.admin_site, stuck="yes"))]

    def _queue(self, queue: QueueStatus) -> dict[str, Any]:
        return {
            **{"name": queue.name, "url": links.list_url(self.admin_site, state="queued", queue=queue.name)},
            **{"due": f"{queue.due:,}", "oldest": presentation.in_words(queue.oldest), "running": f"{queue.running:,}"},
            **{"p50": _seconds(queue.latency_p50), "p95": _seconds(queue.latency_p95)},
            **{"heartbeat": "" if queue.heartbeat is None else _seconds(queue.heartbeat.total_seconds())},
            **{"workers": len(queue.workers), "problem": queue.problem},
        }

    def _worker(self, worker: WorkerStatus) -> dict[str, Any]:
        return {
            **{"name": worker.name, "url": links.url_of(self.admin_site, self.opts, "change", quote(worker.identity))},
            **{"host": worker.host, "pool": worker.pool, "concurrency": worker.concurrency},
            **{"queues": ", ".join(worker.queues), "problem": worker.problem},
            "versions": f"{worker.package} / {worker.celery} / {worker.django}",
            **{"last_seen": cells.moment(worker.last_seen), "last_sweep": cells.moment(worker.last_sweep)},
        }


def _seconds(number: float | None) -> str:
    return "" if number is None else f"{number:.1f} s"
