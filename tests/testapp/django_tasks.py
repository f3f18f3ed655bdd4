"""Django's tasks, for a project that has `SafeTaskBackend`."""

import os
import signal

from django_task_safety import current_operation, idempotent_task, safe_task
from django_task_safety.backends.api import base
from tests.testapp.models import Effect, Note

task = base.task


@task
def add(a: int, b: int = 0) -> int:
    Effect.objects.create(name="add", key=str(a + b))
    return a + b


@task
async def add_async(a: int, b: int) -> int:
    return a + b


@task(takes_context=True)
def tell(context, text: str) -> list:
    return [text, context.attempt, context.task_result.id]


@idempotent_task(key="number", max_retries=2, retry_backoff=1)
@task(queue_name="mail", priority=50)
def charge(number: int, fail: int = 0) -> int:
    Effect.objects.create(name="charge", key=str(number))
    if current_operation().attempt <= fail:
        raise ConnectionError(f"attempt {current_operation().attempt}")
    return number


@safe_task(max_retries=0)
@task
def fail(message: str) -> None:
    raise OverflowError(message)


@task
def copy(note: Note) -> str:
    return note.title


@task
def configured(number: int) -> int:
    Effect.objects.create(name="configured", key=str(number))
    return number


@task
def killed_once() -> int:
    Effect.objects.create(name="killed_once")
    attempt = current_operation().attempt
    if attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return attempt
