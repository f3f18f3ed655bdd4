"""The mixins combine, in either order."""

import pytest
from django.db import transaction

from django_task_safety import ObjectGone, ObjectLocked, safe_task
from django_task_safety.managers import SoftDeleteManager
from tests.notesapp.models import Diary, Ledger

pytestmark = pytest.mark.django_db
both = pytest.mark.parametrize("model", [Ledger, Diary])


@safe_task(lock="write")
def writes(obj: Ledger | Diary) -> None: ...


@both
def test_querysets_of_a_model_with_both_mixins_leave_out_removed_objects(model):
    live, gone = model.objects.create(title="live"), model.objects.create(title="gone")
    gone.delete()
    assert list(model.objects.all()) == [live]
    assert isinstance(model._default_manager, SoftDeleteManager)
    assert list(model.removed_objects.all()) == [gone]
    assert model.objects.all().delete() == (1, {model._meta.label: 1})
    assert model.all_objects.count() == 2


@both
def test_a_held_lock_keeps_a_soft_deletable_object_from_being_removed_and_saved(model):
    obj = model.objects.create(title="a")
    with obj.lock("import"):
        other = model.objects.get()
        other.title = "b"
        for refused in (other.delete, other.hard_delete, model.objects.all().delete):
            with pytest.raises(ObjectLocked), transaction.atomic():
                refused()
    obj.refresh_from_db()
    assert (obj.title, obj.is_removed) == ("a", False)
    assert obj.delete()[0] == 1


@both
def test_a_lock_of_a_task_keeps_others_from_saving_and_updating_the_object(model):
    obj = model.objects.create(title="a")
    operation = writes.enqueue(obj)
    obj.title = "b"
    with pytest.raises(ObjectLocked):
        obj.save()
    with pytest.raises(ObjectLocked):
        model.objects.update(title="b")
    operation.cancel()
    obj.save()
    assert model.objects.get().title == "b"


@both
def test_a_stale_instance_of_a_model_with_both_mixins_brings_nothing_back(model):
    obj = model.objects.create(title="a")
    stale = model.objects.get()
    obj.delete()
    stale.title = "b"
    with transaction.atomic():
        with pytest.raises(ObjectGone):
            stale.save()
        assert model.removed_objects.get().title == "a"
    stale.save(resurrect=True)
    assert model.objects.get().title == "b"


@both
def test_a_removed_object_cannot_be_locked(model):
    obj = model.objects.create(title="a")
    obj.delete()
    with pytest.raises(ObjectGone), obj.lock():
        pass
    obj.restore()
    with obj.lock():
        assert obj.is_locked()
