"""A child that has a primary key beside its parent's is locked as its parent is."""

import pytest
from django.db import connection, models
from django.test.utils import isolate_apps

from django_task_safety import InvalidArguments, ObjectLocked
from tests.support.delivering import elsewhere
from tests.testapp.guarded_tasks import cancelled_with
from tests.testapp.models import Vault

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def safe():
    """One whose own key is another vault's."""
    with isolate_apps("tests.testapp"):

        class Safe(Vault):
            number = models.IntegerField(primary_key=True)
            vault = models.OneToOneField(Vault, models.CASCADE, parent_link=True)
            full = models.BooleanField(default=False)

            class Meta:
                app_label = "testapp"

        with connection.schema_editor() as editor:
            editor.create_model(Safe)
        other = Vault.objects.create(name="another")
        yield Safe.objects.create(number=other.pk)
        with connection.schema_editor() as editor:
            editor.delete_model(Safe)


WRITES = {
    "save": lambda safe: safe.save(force_update=True),
    "update": lambda safe: type(safe).objects.filter(pk=safe.pk).update(full=True),
    "delete": lambda safe: safe.delete(),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_lock_on_the_parent_keeps_others_from_writing_the_child(safe, write):
    with Vault.objects.get(pk=safe.vault_id).lock():
        assert safe.is_locked()
        with pytest.raises(ObjectLocked, match=f"testapp.vault {safe.vault_id} "):
            elsewhere(lambda: write(safe))
    write(safe)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_lock_on_another_object_with_the_childs_own_key_blocks_nothing(safe, write):
    with Vault.objects.get(pk=safe.pk).lock():
        assert not safe.is_locked()
        elsewhere(lambda: write(safe))


def test_its_operations_are_looked_for_by_the_link_to_its_parent(safe):
    operation = cancelled_with.enqueue(Vault.objects.get(pk=safe.vault_id))
    cancelled_with.enqueue(Vault.objects.get(pk=safe.pk))
    assert list(safe.operations.all()) == [operation]
    assert Vault.objects.filter(operations=operation).get().pk == safe.vault_id
    with pytest.raises(InvalidArguments, match="vault__operations"):
        type(safe).objects.filter(operations__state="queued")
