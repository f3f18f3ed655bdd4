"""Where Celery's workers are hooked: identity and keeper at the start, delivered canvases after each task."""

from __future__ import annotations

import logging
from typing import Any

from celery import signals, states

from django_task_safety import owners
from django_task_safety.tasks import SafeTask

logger = logging.getLogger("django_task_safety")

_UID = "django_task_safety"
_keepers: list[Any] = []


def connect() -> None:
    """Connect the receivers; once per process, from `AppConfig.ready`."""
    signals.worker_init.connect(_on_init, weak=False, dispatch_uid=_UID)
    signals.worker_ready.connect(_on_ready, weak=False, dispatch_uid=_UID)
    signals.worker_shutdown.connect(_on_shutdown, weak=False, dispatch_uid=_UID)
    signals.task_postrun.connect(_on_postrun, weak=False, dispatch_uid=_UID)


def _on_init(**kwargs: Any) -> None:
    # Before the pool is made: its children inherit the identity.
    owners.become_worker()


def _on_ready(**kwargs: Any) -> None:
    from django_task_safety.keeper import Keeper

    keeper = Keeper()
    _keepers.append(keeper)
    keeper.start()


def _on_shutdown(**kwargs: Any) -> None:
    while _keepers:
        _keepers.pop().stop()


def _on_postrun(sender: Any = None, task: Any = None, state: str = "", **kwargs: Any) -> None:
    """The outcome was passed to callbacks, chain and chord: note that, so that a copy does not do it again."""
    if not isinstance(task, SafeTask) or state not in (states.SUCCESS, states.FAILURE):
        return
    from django_task_safety import replay

    request = task.request
    if request.is_eager or not replay.has_canvas(request):
        return
    from django_task_safety.delivery import message_id
    from django_task_safety.models import Operation

    ended = Operation.State.SUCCEEDED if state == states.SUCCESS else Operation.State.FAILED
    try:
        _mark_delivered(message_id(str(request.id)), ended)
    except Exception:
        logger.warning("operation %s: could not note that its outcome was delivered", request.id, exc_info=True)


def _mark_delivered(pk: Any, ended: str) -> None:
    from django_task_safety import schedule, table

    schedule.look_again(table.rows().filter(pk=pk, state=ended, delivered=False), delivered=True)
