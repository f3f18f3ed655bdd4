"""For a project's URLs: ``path("operations/", include("django_task_safety.urls"))``."""

from django.contrib.auth.decorators import login_not_required
from django.urls import path

from django_task_safety.views import health, metrics, status

app_name = "task_safety"

# Each knows by itself who may see what: people with a signed link, and probes, cannot log in.
urlpatterns = [
    path("", login_not_required(status.mine), name="mine"),
    path("health/", login_not_required(health.health), name="health"),
    path("metrics/", login_not_required(metrics.metrics), name="metrics"),
    path("<uuid:pk>/", login_not_required(status.operation), name="operation"),
    path("<uuid:pk>/cancel/", login_not_required(status.cancel), name="cancel"),
]
