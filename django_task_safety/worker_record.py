"""The rows of workers and queues: what each worker last said of itself, and what was last measured of each queue."""

from functools import lru_cache
from typing import Any

from django.apps import apps
from django.db import models
from django.utils.translation import gettext_lazy as _

from django_task_safety.fields import ExactCharField


@lru_cache(maxsize=1)
def worker_model() -> Any:
    """Return the concrete model of workers."""
    return apps.get_model("django_task_safety", "Worker")


@lru_cache(maxsize=1)
def queue_model() -> Any:
    """Return the concrete model of queues."""
    return apps.get_model("django_task_safety", "Queue")


class AbstractWorker(models.Model):
    """A running worker, as it last said; or, without a pool, a command that sweeps."""

    #: The same as in the column ``worker`` of the operations that it runs.
    identity = ExactCharField(max_length=255, primary_key=True)
    #: Celery's name for it, ``celery@host``.
    name = models.CharField(_("name"), max_length=255)
    host = models.CharField(_("host"), max_length=255)
    pool = models.CharField(_("pool"), max_length=255, blank=True)
    concurrency = models.IntegerField(_("concurrency"), default=0)
    #: Names, sorted.
    queues = models.JSONField(_("queues"), default=list)
    #: Names of the safe tasks that it knows, sorted; None where there are too many to say.
    tasks = models.JSONField(_("tasks"), null=True)
    #: Versions.
    package = models.CharField(_("version of django-task-safety"), max_length=50)
    celery = models.CharField(_("version of Celery"), max_length=50)
    django = models.CharField(_("version of Django"), max_length=50)
    #: The fingerprint of the settings that must be the same on each side.
    settings = models.CharField(_("settings"), max_length=64)
    started_at = models.DateTimeField(_("started"))
    last_seen = models.DateTimeField(_("last heard of"))
    #: What its host's clock said at that moment, which is the database's.
    clock = models.DateTimeField(_("clock"), null=True)
    last_sweep = models.DateTimeField(_("last sweep"), null=True)

    class Meta:
        abstract = True
        default_permissions = ("view",)
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self) -> str:
        return str(self.name)


class AbstractQueue(models.Model):
    """Latency and heartbeat of one queue, as its workers last measured them."""

    name = ExactCharField(_("name"), max_length=255, primary_key=True)
    #: Seconds from when an operation is due to its start, over those of the last minutes; None where there were none.
    latency_p50 = models.FloatField(_("median latency"), null=True)
    latency_p95 = models.FloatField(_("95th percentile of the latency"), null=True)
    measured_at = models.DateTimeField(_("measured"))
    #: The last heartbeat message: when it was published and, once it has arrived, how long it was on its way.
    heartbeat_sent = models.DateTimeField(_("heartbeat sent"), null=True)
    heartbeat_arrived = models.DateTimeField(_("heartbeat arrived"), null=True)
    heartbeat = models.DurationField(_("heartbeat"), null=True)

    class Meta:
        abstract = True
        default_permissions = ("view",)
        verbose_name = _("queue")
        verbose_name_plural = _("queues")

    def __str__(self) -> str:
        return str(self.name)
