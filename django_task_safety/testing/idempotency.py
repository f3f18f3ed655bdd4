"""Whether a task may be delivered, or called, more than once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django_task_safety.testing import caching, effects, tables
from django_task_safety.testing.effects import Effect
from django_task_safety.testing.local_worker import LocalWorker
from django_task_safety.testing.subjects import CleanRunFailed, Subject, subject_of
from django_task_safety.testing.watching import Watch


class NotIdempotent(AssertionError):
    """A second delivery, or a second call, has changed something."""


def assert_idempotent(task: Any, *args: Any, **kwargs: Any) -> None:
    """Assert that a second delivery and a second call change nothing.

    The task runs, is delivered again under the same id, and is called again under another one. Each time all tables of
    the test's databases are compared, and what was cached; and no mail, message or call to another system may have been
    added. A call that repeats an idempotency key, or that only reads, is no addition.

    Args:
        task: A safe task, a plain Celery task, one of Django's, or a callable.
        args: Its arguments.
        kwargs: Its arguments by name.

    Raises:
        NotIdempotent: With what was changed, row by row.
        CleanRunFailed: If already the first run fails.
        InvalidArguments: If this is no test database, or no task.
    """
    tables.refuse_real_databases()
    subject = subject_of(task, args, kwargs)
    with LocalWorker() as worker, _Trial(subject) as trial:
        subject.request(worker)
        try:
            subject.run(worker)
        except Exception as exc:
            raise CleanRunFailed(f"{subject.name} fails already when it runs for the first time: {exc!r}") from exc
        trial.note()
        trial.repeat("delivered again under the same id", lambda: subject.deliver_again(worker))
        subject.request(worker)
        trial.repeat("called again under another id", lambda: subject.run(worker))


class _Trial:
    """What was there after the first run, to be compared with what is there after a repetition."""

    def __init__(self, subject: Subject) -> None:
        self._name = subject.name
        self._effects: list[Effect] = []
        self._watch = Watch(self._observe)

    def __enter__(self) -> "_Trial":
        self._watch.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._watch.__exit__(*exc)

    def note(self) -> None:
        self._first, self._rows, self._cached = list(self._effects), tables.snapshot(), self._cached_now()

    def repeat(self, how: str, repetition: Callable[[], None]) -> None:
        try:
            repetition()
        except Exception as exc:
            raise NotIdempotent(f"{self._name}, {how}, raises {exc!r}") from exc
        if found := list(self._changes()):
            raise NotIdempotent("\n  ".join([f"{self._name}, {how}, changes:", *found]))

    def _changes(self) -> Iterator[str]:
        yield from tables.differences(self._rows, tables.snapshot(), tables.saved_at())
        yield from effects.repeated(self._first, self._effects[len(self._first) :])
        for place, value in self._cached_now().items():
            if self._cached.get(place) != value:
                yield f"~ cache {place[0]}, {place[1]!r}: {self._cached.get(place)!r} -> {value!r}"

    def _cached_now(self) -> dict[tuple[str, Any], Any]:
        return caching.values(caching.keys_of(self._effects))

    @contextmanager
    def _observe(self, effect: Effect) -> Iterator[None]:
        self._effects.append(effect)
        yield
