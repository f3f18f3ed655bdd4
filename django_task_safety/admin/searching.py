"""Search operations by what an index knows: their ids, their keys, and their objects."""

from __future__ import annotations

import contextlib
import uuid
from collections import defaultdict
from typing import Any

from django.apps import apps
from django.db import models
from django.db.models import Q

from django_task_safety.errors import InvalidArguments
from django_task_safety.models import Operation
from django_task_safety.producer import key
from django_task_safety.values.identity import key_text, root_model

#: How many rows a search finds.
MOST = 1_000


def matching(queryset: Any, term: str) -> Any:
    """Return the operations that somebody means by a text: an id (also that of a duplicate), a key, an object's primary
    key, or ``app_label.model:key``."""
    condition = _by_key(term) | _by_object(term)
    with contextlib.suppress(ValueError):
        condition |= _by_id(uuid.UUID(term))
    # In a statement of its own, without an order that might lead the database to another index.
    ids = Operation.all_rows.filter(condition).values_list("pk", flat=True)
    return queryset.filter(pk__in=list(ids[:MOST]) if condition else [])


def _by_id(pk: uuid.UUID) -> Q:
    waited_for = Operation.all_rows.filter(pk=pk).values_list("waits_for", flat=True).first()
    return Q(pk__in=[pk, waited_for] if waited_for else [pk])


def _by_key(term: str) -> Q:
    digests = key.digests_of_all(term)
    return Q(key_digest__in=digests) if digests else Q()


def _by_object(term: str) -> Q:
    label, colon, pk = term.rpartition(":")
    found: dict[str, list[str]] = defaultdict(list)
    for model in _models(label) if colon else map(root_model, apps.get_models()):
        with contextlib.suppress(InvalidArguments):
            found[key_text(model, pk)].append(model._meta.label_lower)
    conditions = (Q(subject_label__in=set(labels), subject_id=text) for text, labels in found.items())
    return Q.create(list(conditions), connector=Q.OR) if found else Q()


def _models(label: str) -> list[type[models.Model]]:
    """Return the root models of ``app_label.model``, or of a model's name alone."""
    named = label.lower()
    found = (model for model in apps.get_models() if named in (model._meta.label_lower, model._meta.model_name))
    return [root_model(model) for model in found]
