"""The result backends of the project's Celery apps."""

from typing import Any

from celery import Celery
from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend

from django_task_safety import ids
from django_task_safety.management.doctor.findings import Finding, NoAnswer, bad, good, said, within


def probe(app: Celery, timeout: float) -> Finding:
    """Ask an app's result backend for the result of a task that there never was."""
    about, backend = "result backend", app.backend
    if isinstance(backend, DisabledBackend):
        return good(about, "none; outcomes are in the database")
    where = type(backend).__name__
    if isinstance(backend, RPCBackend):
        return good(about, f"{where}: results are messages, and go through the broker")
    hint = "Start it, or mend the app's result_backend. Operations end without it; who waits by get() hears later."
    try:
        within(timeout, lambda: _store_and_read(backend))
    except NoAnswer as exc:
        return bad(about, f"{where} does not answer: {exc}", hint)
    except Exception as exc:  # each backend has errors of its own
        return bad(about, f"{where} does not answer: {said(exc)}", hint)
    return good(about, f"{where} answers")


def _store_and_read(backend: Any) -> None:
    backend.get_task_meta(str(ids.new()), cache=False)
