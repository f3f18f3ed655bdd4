"""Where Celery's workers are hooked: identity and keeper at the start; clock, canvas and connection at each task."""

import logging
import sys
import threading
import uuid
from typing import Any

from celery import signals, states
from celery.exceptions import Reject

# Before the pool is made, whose children then need not import it for their first message.
import django_task_safety.worker.delivery  # noqa: F401
from django_task_safety import registry
from django_task_safety.ids import message_id
from django_task_safety.ledger import schedule, worker_id
from django_task_safety.options import ENTERED, TaskOptions
from django_task_safety.producer import canvas, redaction
from django_task_safety.values import masking
from django_task_safety.worker import connection, log_filter, unbegun
from django_task_safety.worker.keeper import Keeper

logger = logging.getLogger("django_task_safety")

_UID = "django_task_safety"
#: Where a request keeps whether callbacks, chain or chord wait for it.
_AWAITED = "task_safety_awaited"
#: And what it needs to end the masking of its arguments.
_MASKED = "task_safety_masked"
#: What a row is to be told when they have heard.
_TOLD = "who waits for it was told"
_keepers: list[Any] = []


def connect() -> None:
    """Connect the receivers; once per process, from `AppConfig.ready`."""
    signals.worker_init.connect(_on_init, weak=False, dispatch_uid=_UID)
    signals.worker_ready.connect(_on_ready, weak=False, dispatch_uid=_UID)
    signals.worker_shutdown.connect(_on_shutdown, weak=False, dispatch_uid=_UID)
    signals.worker_process_shutdown.connect(_on_process_shutdown, weak=False, dispatch_uid=_UID)
    signals.task_prerun.connect(_on_prerun, weak=False, dispatch_uid=_UID)
    signals.task_success.connect(_on_success, weak=False, dispatch_uid=_UID)
    signals.task_failure.connect(_on_failure, weak=False, dispatch_uid=_UID)
    # Before Celery's own receiver, connected when a worker starts, which closes all connections.
    signals.task_postrun.connect(_on_postrun, weak=False, dispatch_uid=_UID)
    for name in ("django_task_safety", "celery.app.trace"):
        logging.getLogger(name).addFilter(log_filter.mask_record)


def _on_init(**kwargs: Any) -> None:
    registry.make_late_tasks()
    # Before the pool is made: its children inherit the identity.
    worker_id.become_worker()


def _on_ready(sender: Any = None, **kwargs: Any) -> None:
    keeper = Keeper(sender)
    _keepers.append(keeper)
    keeper.start()


def _on_shutdown(**kwargs: Any) -> None:
    while _keepers:
        _keepers.pop().stop()
    _on_process_shutdown()


def _on_process_shutdown(**kwargs: Any) -> None:
    connection.close()


def _on_prerun(task: Any = None, args: Any = None, **received: Any) -> None:
    if isinstance(task, TaskOptions):
        log_filter.add_fields()
        vars(task.request)[_MASKED] = masking.hide(redaction.hidden(task, args, received.get("kwargs")))
        worker_id.begin(task)
        # Before Celery 5.6 a chain's last task is taken off the request when it is published.
        vars(task.request)[_AWAITED] = canvas.has_canvas(task.request)


def _on_postrun(task: Any = None, state: str | None = None, retval: Any = None, **kwargs: Any) -> None:
    if isinstance(task, TaskOptions) and state not in (states.SUCCESS, states.FAILURE) and _is_unbegun(task):
        with connection.briefly("it could not begin"):
            raised: Any = retval if state else sys.exception()
            unbegun.end_unbegun(task, message_id(str(task.request.id)), raised)
    # Celery has logged how it ended.
    if isinstance(task, TaskOptions) and (token := vars(task.request).pop(_MASKED, None)):
        masking.show(token)
    # With that setting Celery itself leaves connections where plain tasks find them as well.
    if isinstance(task, TaskOptions) and not task.request.is_eager and not task.app.conf.get("CELERY_DB_REUSE_MAX"):
        connection.keep()


def _on_success(sender: Any = None, **kwargs: Any) -> None:
    # Sent after callbacks, chain and chord, and only if all of them heard.
    _note_delivery(sender, "succeeded")


def _on_failure(sender: Any = None, task_id: str = "", exception: Any = None, **kwargs: Any) -> None:
    if isinstance(exception, Reject) and isinstance(sender, TaskOptions) and not sender.request.id:
        # Celery 5.7 tells of it in the pool's parent.
        with connection.briefly(_TOLD):
            _note_told(message_id(task_id), "failed")
        return
    if isinstance(sender, TaskOptions) and _is_unbegun(sender):
        with connection.briefly("it could not begin"):
            unbegun.fail_unbegun(sender, message_id(str(sender.request.id)), exception)
    _note_delivery(sender, "failed")


def _is_unbegun(task: TaskOptions) -> bool:
    """Return whether a hook before the task raised."""
    return bool(task.request.id) and not vars(task.request).get(ENTERED)


def _note_delivery(task: Any, state: str) -> None:
    """The outcome was passed to callbacks, chain and chord: note that, so that a copy does not do it again."""
    if not isinstance(task, TaskOptions):
        return
    request = task.request
    if not request.id or not vars(request).get(_AWAITED):
        return
    pk = message_id(str(request.id))
    try:
        if request.is_eager:
            schedule.mark_delivered(pk, state, wait=True)
        else:
            _note_told(pk, state)
    except Exception:
        fields = {"operation": str(pk), "task": task.name}
        logger.warning("could not note that an outcome was delivered", exc_info=True, extra=fields)


def _note_told(pk: uuid.UUID, state: str) -> None:
    """Note it, where somebody holds the row in a thread: neither a slot nor the worker's main loop waits for that."""
    if schedule.mark_delivered(pk, state, wait=False):
        return

    def note() -> None:
        with connection.briefly(_TOLD):
            schedule.mark_delivered(pk, state, wait=True)

    threading.Thread(target=note, name="task-safety-told", daemon=True).start()
