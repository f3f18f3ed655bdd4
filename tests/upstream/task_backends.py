"""Our backend where Django's tests have its dummy and its immediate one: what these do beside running tasks."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from celery import current_app
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection

from django_task_safety.backends import SafeTaskBackend
from django_task_safety.models import Operation


class _WithoutRetries(SafeTaskBackend):
    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, {**params, "OPTIONS": {"max_retries": 0}})
        self.options: dict[str, Any] = params.get("OPTIONS", {})


class DummyBackend(_WithoutRetries):
    """Tells all results, and forgets them when it is told to."""

    @property
    def results(self) -> list[Any]:
        try:
            return self._read()
        except SynchronousOnlyOperation:  # tests that are coroutines look as well
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(self._read_elsewhere).result()

    def _read(self) -> list[Any]:
        return [self.get_result(str(operation.pk)) for operation in Operation.objects.order_by("pk")]

    def _read_elsewhere(self) -> list[Any]:
        try:
            return self._read()
        finally:
            connection.close()

    def clear(self) -> None:
        Operation.objects.all().delete()


class ImmediateBackend(_WithoutRetries):
    """Runs a task before the call returns."""

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        current_app.conf.update(task_always_eager=True)
        try:
            return super().enqueue(task, args, kwargs)
        finally:
            current_app.conf.update(task_always_eager=False)
