"""For a project's URLs: ``path("operations/", include("django_task_safety.urls"))``."""

from django.urls import path

from django_task_safety.views import health, metrics, status

app_name = "task_safety"

urlpatterns = [
    path("", status.mine, name="mine"),
    path("health/", health.health, name="health"),
    path("metrics/", metrics.metrics, name="metrics"),
    path("<uuid:pk>/", status.operation, name="operation"),
    path("<uuid:pk>/cancel/", status.cancel, name="cancel"),
]
