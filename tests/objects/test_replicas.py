"""An object that was read through a replica's alias is the object that is written elsewhere."""

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.db.models import Count

from django_task_safety import ObjectGone, ObjectLocked, idempotent_task, lock_all, safe_task
from django_task_safety.models import Operation
from tests.notesapp.models import Note
from tests.testapp import guarded_tasks as tasks
from tests.testapp.models import Chapter, Machine, Page, PinnedPage, Vault

State = Operation.State
pytestmark = pytest.mark.django_db(databases=["default", "replica"], transaction=True)
received: list[object] = []


@idempotent_task
def once(obj: object) -> None:
    received.append(obj)


@safe_task
def takes(obj: object, *more: object) -> None:
    received.append(obj)


class ReadsFromReplica:
    def db_for_read(self, model, **hints):
        return None if model._meta.app_label == "django_task_safety" else "replica"

    def db_for_write(self, model, **hints):
        return "default"

    def allow_relation(self, *objs, **hints):
        return True


class WhereItsTenantIs:
    """Says where an instance is written to, and nothing of a model."""

    def db_for_write(self, model, instance=None, **hints):
        return getattr(instance, "title", None) if instance is not None else None


class WhereTheVaultIs:
    """The same, of a model whose objects can be locked."""

    def db_for_write(self, model, instance=None, **hints):
        return instance.name if isinstance(instance, Vault) else None


@pytest.fixture(scope="module", autouse=True)
def replica(django_db_setup):
    """Another alias, with connections of its own, that sees what the default database has committed."""
    default = connections["default"].settings_dict
    connections.settings["replica"] = {**default, "TEST": {**default["TEST"], "MIRROR": "default"}}
    yield
    del connections["replica"], connections.settings["replica"]


@pytest.fixture(autouse=True)
def _nothing_is_left(transactional_db):
    received.clear()
    yield
    connections["replica"].close()


@pytest.fixture
def routed(settings):
    settings.DATABASE_ROUTERS = [ReadsFromReplica()]


def state(operation):
    return Operation.objects.get(pk=operation.pk).state


@pytest.mark.usefixtures("routed")
class TestRouted:
    def test_it_is_one_key_and_one_effect(self, worker):
        page = Chapter.objects.create(title="a")
        read = [model.objects.get() for model in (Page, PinnedPage, Chapter)]
        assert {one._state.db for one in read} == {"replica"}
        assert len({once.enqueue(one) for one in (page, *read)}) == 1
        worker.drain()
        assert received == [page]

    def test_a_task_gets_it_from_where_it_is_written_to(self, worker):
        Page.objects.create(title="a")
        operation = takes.enqueue(Page.objects.get(), [Page.objects.get()])
        assert "replica" not in operation.payload
        assert operation.subject_database == "default"
        worker.drain()
        assert (received[0]._state.db, operation.subject._state.db) == ("default", "default")

    def test_it_has_the_same_operations(self, django_assert_num_queries):
        page = Page.objects.create(title="a")
        operations = {takes.enqueue(page), takes.enqueue(Page.objects.get())}
        assert set(page.operations.all()) == set(Page.objects.get().operations.all()) == operations
        assert set(Operation.objects.for_object(Page.objects.get())) == operations
        with django_assert_num_queries(1), django_assert_num_queries(1, connection=connections["replica"]):
            (read,) = Page.objects.prefetch_related("operations")
            assert set(read.operations.all()) == operations
        for alias in ("default", "replica"):
            found = Page.objects.using(alias)
            assert found.annotate(n=Count("operations")).get().n == 2
            assert found.filter(operations__state=State.QUEUED).distinct().get() == page
            assert not found.exclude(operations__state=State.QUEUED).exists()

    @pytest.mark.parametrize(
        "delete",
        [
            lambda page: page.delete(),
            lambda page: Page.objects.get(pk=page.pk).delete(),
            lambda page: Page.objects.filter(pk=page.pk).delete(),
            lambda page: Page.objects.using("replica").filter(pk=page.pk).delete(),
        ],
        ids=["instance", "instance of the replica", "queryset", "queryset of the replica"],
    )
    @pytest.mark.parametrize("read", [True, False], ids=["read", "created"])
    def test_deleting_it_follows_the_policies(self, delete, read):
        created = Page.objects.create(title="a")
        page, stale = Page.objects.get() if read else created, Page.objects.get()
        protecting, cancelled = tasks.protects.enqueue(page), tasks.cancelled_with.enqueue(page)
        with pytest.raises(ObjectLocked, match=f"testapp.page {page.pk} cannot be deleted"):
            delete(page)
        protecting.cancel()
        delete(page)
        assert not Page.objects.exists()
        assert state(cancelled) == State.CANCELLED
        with pytest.raises(ObjectGone):
            tasks.protects.enqueue(stale)

    @pytest.mark.skipif(connection.vendor == "sqlite", reason="it has one writer at a time")
    def test_an_enqueue_holds_its_row_where_it_is_written_to(self):
        Page.objects.create(title="a")
        with transaction.atomic():
            tasks.protects.enqueue(Page.objects.get())
            with pytest.raises(OperationalError), transaction.atomic(using="replica"):
                Page.objects.using("replica").select_for_update(nowait=True).get()

    def test_an_enqueue_costs_the_replica_nothing(self, django_assert_num_queries):
        Page.objects.create(title="a")
        page = Page.objects.get()
        with django_assert_num_queries(0, connection=connections["replica"]), transaction.atomic():  # noqa: SIM117
            with django_assert_num_queries(1):
                tasks.protects.enqueue(page)

    def test_it_has_one_lock(self):
        created = Machine.objects.create(name="m")
        read = Machine.objects.get()
        assert read._state.db == "replica"
        with read.lock("copy") as holder:
            assert created.is_locked()
            assert read.is_locked()
            for other in (created, Machine.objects.get()):
                with pytest.raises(ObjectLocked, match=str(holder.pk)):
                    other.lock("copy").acquire()
                with pytest.raises(ObjectLocked):
                    other.delete()
            with pytest.raises(ObjectLocked):
                tasks.copies.enqueue(created)
        with lock_all([created, read]) as held:
            assert len(held) == 1

    def test_a_lock_keeps_others_from_saving_it(self):
        vault = Vault.objects.create(name="v")
        operation = tasks.copies.enqueue(vault)
        through_replica = Vault.objects.using("replica")
        for save in (
            Vault.objects.get().save,
            lambda: Vault.objects.get().save(using="replica"),
            lambda: Vault.objects.update(name="w"),
            lambda: through_replica.update(name="w"),
            lambda: through_replica.values("name").update(name="w"),
        ):
            with pytest.raises(ObjectLocked, match=str(operation.pk)):
                save()
        assert Vault.objects.get().name == "v"
        operation.cancel()
        assert through_replica.update(name="w") == 1
        assert through_replica.filter(name="none").update(name="x") == 0

    def test_a_soft_delete_follows_the_policies(self):
        Note.objects.create(title="n")
        protecting, cancelled = (
            tasks.protects.enqueue(Note.objects.get()),
            tasks.cancelled_with.enqueue(Note.objects.get()),
        )
        for delete in (Note.objects.get().delete, Note.objects.all().delete, Note.objects.get().hard_delete):
            with pytest.raises(ObjectLocked):
                delete()
        protecting.cancel()
        Note.objects.get().delete()
        assert state(cancelled) == State.CANCELLED

    def test_a_task_that_deletes_its_own_object_is_spared(self, worker):
        Page.objects.create(title="a")
        operation = tasks.deletes.enqueue(Page.objects.get())
        worker.drain()
        assert state(operation) == State.SUCCEEDED
        assert not Page.objects.exists()

    def test_retrying_it_holds_its_object_where_it_is_written_to(self):
        Machine.objects.create(name="m")
        operation = tasks.copies.enqueue(Machine.objects.get())
        slot = operation.lock_slot
        operation.cancel()
        assert Operation.objects.get().retry()
        assert Operation.objects.get().lock_slot == slot


def test_where_no_router_decides_an_alias_is_a_database_of_its_own():
    page = Page.objects.create(title="a")
    read = Page.objects.using("replica").get()
    assert once.enqueue(page) != once.enqueue(read)
    assert not read.operations.filter(subject_database="default").exists()
    vault = Vault.objects.create(name="v")
    with vault.lock():
        assert Vault.objects.using("replica").update(name="w") == 1


def test_a_lock_is_looked_for_where_the_router_writes_the_instance(settings):
    settings.DATABASE_ROUTERS = [WhereTheVaultIs()]
    vault = Vault.objects.using("default").create(name="replica")
    operation = tasks.copies.enqueue(vault)
    assert operation.subject_database == "replica"
    with pytest.raises(ObjectLocked, match=str(operation.pk)):
        Vault.objects.using("default").update(name="w")


def test_a_router_that_asks_the_instance_is_heard(settings):
    settings.DATABASE_ROUTERS = [WhereItsTenantIs()]
    page = Page.objects.using("default").create(title="replica")
    read = Page.objects.using("default").get()
    assert {once.enqueue(one).subject_database for one in (page, read)} == {"replica"}
    assert once.enqueue(Page.objects.create(title="")).subject_database == "default"
