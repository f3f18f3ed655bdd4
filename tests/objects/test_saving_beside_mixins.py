"""save() of models with a mixin that has a condition of its own for the UPDATE, as finite state machines do."""

from typing import Any

import django
import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from django_task_safety import ObjectGone
from tests.notesapp.models import Draft, LongDraft, Note
from tests.notesapp.ways import fresh

pytestmark = pytest.mark.django_db(transaction=True)


class LostRace(Exception):
    """The title is not what it was when the instance was loaded."""


class SameTitle:
    """Writes only where nobody else has changed the title; passes Django's arguments on by name."""

    #: Whether it says so itself, as django-fsm does.
    says_so = True

    @classmethod
    def from_db(cls, *args: Any, **options: Any) -> Any:
        new = super().from_db(*args, **options)  # type: ignore[misc]
        new.title_then = new.title
        return new

    def _do_update(self, base_qs: Any, using: Any, pk_val: Any, values: Any, *rest: Any) -> Any:
        names = ["update_fields", "forced_update", "returning_fields"]
        named = dict(zip(names, rest, strict=django.VERSION >= (6, 0)))
        here = any(field.name == "title" for field in base_qs.model._meta.local_fields)
        condition = {"title": self.title_then} if here and hasattr(self, "title_then") else {}
        updated = super()._do_update(  # type: ignore[misc]
            base_qs=base_qs.filter(**condition), using=using, pk_val=pk_val, values=values, **named
        )
        if not updated and self.says_so and base_qs.filter(pk=pk_val).exists():
            raise LostRace
        return updated


class StateDraft(SameTitle, Draft):
    class Meta:
        app_label = "notesapp"
        proxy = True


class StateLongDraft(SameTitle, LongDraft):
    class Meta:
        app_label = "notesapp"
        proxy = True


class StateNote(SameTitle, Note):
    class Meta:
        app_label = "notesapp"
        proxy = True


class SilentDraft(SameTitle, Draft):
    says_so = False

    class Meta:
        app_label = "notesapp"
        proxy = True


every_model = pytest.mark.parametrize("model", [StateDraft, StateLongDraft, StateNote])


def two(model: Any) -> tuple[Any, Any]:
    pk = model.objects.create(title="new").pk
    return model.objects.get(pk=pk), model.objects.get(pk=pk)


@every_model
def test_a_mixin_with_a_condition_of_its_own_is_asked(model: Any):
    one, other = two(model)
    one.title = "paid"
    one.save()
    other.title = "void"
    with pytest.raises(LostRace):
        other.save()
    assert fresh(one).title == "paid"


@every_model
def test_a_condition_of_a_mixin_holds_for_other_columns_too(model: Any):
    one, other = two(model)
    one.title = "paid"
    one.save()
    other.text = "b"
    with pytest.raises(LostRace):
        other.save()
    other = fresh(one)
    other.text = "c"
    other.save()
    assert fresh(one).text == "c"


@every_model
@pytest.mark.parametrize("options", [{}, {"update_fields": ["text"]}, {"force_update": True}], ids=str)
def test_a_row_that_is_gone_is_gone_beside_a_mixin(model: Any, options: Any):
    one, other = two(model)
    one.delete()
    other.text = "b"
    with pytest.raises(ObjectGone):
        other.save(**options)
    assert not model.objects.exists()


def test_a_lost_race_that_the_mixin_does_not_tell_is_no_missing_object():
    one, other = two(SilentDraft)
    one.title = "paid"
    one.save()
    other.text = "b"
    with CaptureQueriesContext(connection) as queries, pytest.raises(DatabaseError) as refusal, transaction.atomic():
        other.save()
    assert not isinstance(refusal.value, ObjectGone)
    assert (fresh(one).title, fresh(one).text) == ("paid", "")
    # Which would bring the row back if it went meanwhile.
    assert not [query["sql"] for query in queries if query["sql"].startswith("INSERT")]


def test_a_save_beside_a_mixin_is_one_statement():
    one, _ = two(StateDraft)
    one.text = "b"
    with CaptureQueriesContext(connection) as queries:
        one.save()
    assert len(queries) == 1


def test_an_expression_is_read_back_beside_a_mixin():
    one, _ = two(StateDraft)
    one.copies = F("copies") + 1
    one.save()
    one.refresh_from_db()
    assert one.copies == 1
