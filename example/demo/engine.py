"""The machinery behind the pages: is the worker there, does the broker run, and what waits?"""

from django.conf import settings

from demo import processes
from demo.score import score
from django_task_safety.models import Operation
from shop.broker import Server


def broker() -> Server:
    return Server(settings.CELERY_BROKER_TRANSPORT_OPTIONS["folder"])


def state() -> dict[str, object]:
    pending = Operation.objects.pending()
    return {
        "worker_runs": processes.is_alive("worker"),
        "broker_runs": not broker().stopped.exists(),
        "waiting": pending.filter(state=Operation.State.QUEUED).count(),
        "running": pending.filter(state=Operation.State.RUNNING).count(),
        "score": score(),
    }
