"""What an operation is called where people see it."""

import logging
from collections.abc import Mapping
from functools import lru_cache
from string import Formatter
from typing import Any

from django.apps import apps
from django.db import models

from django_task_safety.options import TaskOptions
from django_task_safety.producer import redaction
from django_task_safety.values import codec, masking, references

logger = logging.getLogger("django_task_safety")

_LONGEST = 255


def title_of(
    task: TaskOptions, arguments: Mapping[str, Any], known: Mapping[references.Reference, models.Model]
) -> str:
    """Return the title of a call: what the task's option ``title`` makes of the bound arguments, one line of text.

    Args:
        known: The objects that the caller passed. Of one that was passed as a primary key, its name and key are shown.
    """
    title: Any = task.title
    if not title:
        return in_words(task)
    try:
        if callable(title):
            made = str(title(**references.load(dict(arguments), known)))
        else:
            made = Formatter().vformat(title, (), _Shown(task, arguments, known))
    except Exception:
        logger.warning("%s: a title could not be made", task.name, exc_info=True)
        return in_words(task)
    return codec.one_line(codec.printable(made, _LONGEST))[:_LONGEST]


def title_of_all(task: TaskOptions, arguments: Mapping[str, Any], differs: str) -> str:
    """Return the title of many calls together, of which one argument ``differs``, so that no title may name it."""
    said = task.title if isinstance(task.title, str) else ""
    shared = said and all(
        (name or "").split(".")[0].split("[")[0] != differs for _, name, *_ in Formatter().parse(said)
    )
    return title_of(task, arguments, {}) if shared else in_words(task)


@lru_cache(maxsize=4096)
def in_words(task: TaskOptions) -> str:
    """Return the name of the task's function in words."""
    words = str(task.name).rpartition(".")[2].replace("_", " ").strip()
    return words[:1].upper() + words[1:]


class _Shown(dict[str, Any]):
    """The arguments as a title shows them."""

    def __init__(
        self,
        task: TaskOptions,
        arguments: Mapping[str, Any],
        known: Mapping[references.Reference, models.Model],
    ) -> None:
        super().__init__(arguments)
        self._task, self._known = task, known

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if redaction.hides(self._task, name):
            return masking.MASKED
        if isinstance(value, references.Reference):
            return self._known.get(value) or f"{apps.get_model(value.label)._meta.verbose_name} {value.pk}"
        return value
