"""Unique values that removed rows go on holding."""

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core import serializers
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.forms import modelform_factory

from django_task_safety.errors import RemovedExists
from tests.notesapp.models import Label
from tests.notesapp.ways import fresh

pytestmark = pytest.mark.django_db


async def get_or_create(**values: Any) -> tuple[Label, bool]:
    return await Label.objects.aget_or_create(**values)


@pytest.mark.parametrize(
    "create",
    [
        lambda **values: Label.objects.create(**values),
        lambda **values: Label.objects.get_or_create(**values),
        lambda **values: Label.objects.update_or_create(**values, defaults={"text": "b"}),
        lambda **values: Label.objects.get_or_create(pk=99, defaults=values),
        lambda **values: async_to_sync(get_or_create)(**values),
    ],
)
def test_a_conflict_with_a_unique_value_of_a_removed_row_is_explained(create):
    held = Label.objects.create(slug="a")
    held.delete()
    with transaction.atomic():
        with pytest.raises(RemovedExists, match=rf"notesapp.Label {held.pk} holds slug='a'.*restore\(\)") as raised:
            create(slug="a")
        other = Label.objects.create(slug="b")
    assert isinstance(raised.value, IntegrityError)
    assert raised.value.obj == held
    assert fresh(other).slug == "b"


@pytest.mark.parametrize(
    "create",
    [
        lambda **values: Label.objects.create(**values),
        lambda **values: Label.objects.get_or_create(**values),
        lambda **values: Label.objects.update_or_create(**values, defaults={"text": "b"}),
    ],
)
def test_a_conflict_with_the_primary_key_of_a_removed_row_is_explained(create):
    held = Label.objects.create(slug="a")
    held.delete()
    with transaction.atomic(), pytest.raises(RemovedExists, match=rf"holds id={held.pk}\. Bring it back with restore"):
        create(pk=held.pk)
    assert fresh(held).is_removed


def test_a_new_instance_with_the_primary_key_of_a_removed_row_does_not_take_its_place():
    held = Label.objects.create(slug="a")
    held.delete()
    new = Label(pk=held.pk, slug="b")
    with pytest.raises(ValidationError, match=rf"notesapp.Label {held.pk} holds id={held.pk}"):
        new.full_clean()
    with pytest.raises(IntegrityError), transaction.atomic():
        new.save()
    assert (fresh(held).slug, fresh(held).is_removed) == ("a", True)
    new.save(resurrect=True)
    assert (fresh(held).slug, fresh(held).is_removed) == ("b", False)


def test_loaddata_takes_the_place_of_a_removed_row():
    held = Label.objects.create(slug="a")
    fixture = serializers.serialize("json", [held])
    held.delete()
    for one in serializers.deserialize("json", fixture):
        one.save()
    assert not fresh(held).is_removed


def test_a_conflict_with_a_unique_value_of_a_live_row_is_djangos_error():
    Label.objects.create(slug="a")
    with pytest.raises(IntegrityError) as raised, transaction.atomic():
        Label.objects.create(slug="a")
    assert not isinstance(raised.value, RemovedExists)
    assert Label.objects.get_or_create(slug="a")[1] is False


def test_a_form_says_that_a_removed_row_holds_the_value():
    form_class = modelform_factory(Label, fields=["slug"])
    held = Label.objects.create(slug="a")
    assert form_class({"slug": "a"}, instance=held).is_valid()
    held.delete()
    form = form_class({"slug": "a"})
    assert list(form.errors) == ["slug"]
    assert f"notesapp.Label {held.pk} holds slug='a'" in form.errors["slug"][0]
    assert form_class({"slug": "b"}).is_valid()
    assert form_class({"slug": "a"}, instance=held).is_valid()
