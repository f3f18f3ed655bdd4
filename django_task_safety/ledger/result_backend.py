"""What the result backend is told from outside a worker's task: within a bound, for a caller's request waits for it."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any

from django_task_safety.conf import conf
from django_task_safety.values import codec

if TYPE_CHECKING:
    from django_task_safety.options import TaskOptions
    from django_task_safety.record import AbstractOperation

logger = logging.getLogger("django_task_safety")

#: Where a backend keeps its copy with short timeouts.
_COPY = "task_safety_bounded"


def forget(task: TaskOptions, operation: AbstractOperation) -> None:
    """Forget the outcome of an earlier run, which must not be mistaken for that of the next one; never raises."""
    try:
        _bounded(task.backend).forget(str(operation.pk))
    except (NotImplementedError, FileNotFoundError):
        return  # this backend keeps nothing to forget, or (Celery's of files) nothing of this operation
    except Exception as exc:
        logger.warning("operation %s: its old result could not be forgotten: %s", operation.pk, codec.describe(exc))


def tell(task: TaskOptions, operation: AbstractOperation, outcome: BaseException, state: str) -> bool:
    """Tell how an operation ended; never raises.

    Returns:
        False where the backend did not take it: it will hardly take the next one.
    """
    if task.ignore_result:
        return True
    try:
        _bounded(task.backend).store_result(str(operation.pk), outcome, state)
    except Exception as exc:
        logger.warning("operation %s: the result backend was not told: %s", operation.pk, codec.describe(exc))
        return False
    return True


def _bounded(backend: Any) -> Any:
    """Return the backend with short timeouts: Celery's for Redis wait for two minutes.

    Half of ``PUBLISH_TIMEOUT``, since a message may wait for its broker before or after that.
    """
    parameters = getattr(backend, "connparams", None)
    if not isinstance(parameters, dict):
        return backend
    mine = vars(backend).get(_COPY)
    if mine is None:
        mine = copy.copy(backend)
        vars(mine).pop("client", None)  # a cached property, made with the other timeouts
        limit = conf().PUBLISH_TIMEOUT / 2
        short = {"socket_timeout": limit, "socket_connect_timeout": limit, "retry_on_timeout": False}
        mine.connparams = {**parameters, **{name: short[name] for name in short.keys() & parameters.keys()}}
        vars(backend)[_COPY] = mine
    return mine
