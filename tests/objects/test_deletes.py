"""What deleting an object does to its operations, whichever way Django is asked to delete it."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib import admin
from django.contrib.admin.utils import NestedObjects, get_deleted_objects
from django.contrib.auth.models import AnonymousUser
from django.db import connection, models, transaction
from django.db.models import ProtectedError
from django.test.utils import CaptureQueriesContext

from django_task_safety import PROTECT, InvalidArguments, ObjectGone, ObjectLocked, safe_task
from django_task_safety.models import Operation
from tests.support.deleting import assert_delete_cancels, assert_delete_is_refused
from tests.support.factories import CityFactory, FolderFactory, PageFactory
from tests.support.operations import state
from tests.testapp import guarded_tasks as tasks
from tests.testapp.models import City, Page

State = Operation.State
pytestmark = pytest.mark.django_db(transaction=True)


def test_deleting_an_object_cancels_what_is_pending_on_it(path, around):
    assert_delete_cancels(path, around)


def test_deleting_a_protected_object_is_refused(path, around):
    assert_delete_is_refused(path, around)


def test_an_ended_operation_protects_no_object(path, around):
    make, delete = path
    obj = make()
    tasks.protects.enqueue(obj).cancel()
    with around():
        delete(obj)
    assert not type(obj).objects.filter(pk=obj.pk).exists()


def test_a_queued_operation_with_on_delete_keep_is_cancelled_with_a_hard_delete(path, around):
    make, delete = path
    obj = make()
    operation = tasks.keeps.enqueue(obj)
    with around():
        delete(obj)
    assert state(operation) == State.CANCELLED


def test_a_delete_that_is_rolled_back_cancels_no_operation(path):
    make, delete = path
    obj = make()
    operation = tasks.cancelled_with.enqueue(obj)
    with transaction.atomic():
        delete(obj)
        transaction.set_rollback(True)
    assert state(operation) == State.QUEUED


def test_deleting_what_a_null_on_delete_foreign_key_points_to_leaves_the_operations_alone():
    folder = FolderFactory()
    operation = tasks.protects.enqueue(CityFactory(folder=folder))
    folder.delete()
    assert state(operation) == State.QUEUED


def statements(call):
    with CaptureQueriesContext(
        connection,
    ) as captured:
        call()
    return [query["sql"] for query in captured]


class Plain(models.Model):
    code = models.CharField(max_length=20, primary_key=True)

    class Meta:
        app_label = "testapp"
        managed = False
        db_table = "testapp_city"

    def __str__(self) -> str:
        return self.code


def test_a_delete_with_no_operations_costs_at_most_two_statements_more_than_djangos(around):
    CityFactory(code="x")
    CityFactory(code="y")
    plain, guarded = Plain.objects.get(code="x"), City.objects.get(code="y")
    with around():
        base = [sql for sql in statements(plain.delete) if not sql.startswith(("BEGIN", "SAVE", "COMMIT"))]
        ours = [sql for sql in statements(guarded.delete) if not sql.startswith(("BEGIN", "SAVE", "COMMIT"))]
    assert len(ours) <= len(base) + 2, ours


@pytest.mark.parametrize("objects", [1, 3])
def test_the_statements_of_a_delete_grow_neither_with_operations_nor_with_objects(objects):
    def count(each):
        for _ in range(objects):
            obj = CityFactory()
            tasks.cancelled_with.enqueue_many([(obj, n) for n in range(each)])
        made = statements(City.objects.all().delete)
        assert not Operation.objects.pending().exists()
        return len(made)

    assert count(1) == count(50)


def test_the_admins_delete_page_shows_what_protects_and_cancels_nothing(rf):
    obj, other = PageFactory.create_batch(2)
    protecting, cancellable = tasks.protects.enqueue(obj), tasks.cancelled_with.enqueue(other)
    collector = NestedObjects(using="default", origin=obj)
    collector.collect([obj])
    assert collector.protected == {protecting}
    request = rf.get("/")
    request.user = AnonymousUser()
    _, _, _, protected = get_deleted_objects([obj], request, admin.site)
    assert len(protected) == 1
    get_deleted_objects([other], request, admin.site)
    assert state(cancellable) == State.QUEUED


def test_a_refusal_says_who_holds_the_object_wherever_it_is_caught(path):
    """Only the collector, which would raise a bare ``ProtectedError`` with them, gets the refusal itself."""
    make, delete = path
    obj = make()
    operation = tasks.protects.enqueue(obj)
    with ThreadPoolExecutor(1) as elsewhere:
        future = elsewhere.submit(call_and_close, delete, obj)
    caught = [future.exception(), who_refuses(delete, obj)]
    caught.append(pickle.loads(pickle.dumps(caught[1])))
    assert [type(refusal) for refusal in caught] == [ObjectLocked] * 3
    assert [refusal.protected_objects for refusal in caught] == [{operation}] * 3


def who_refuses(delete, obj):
    try:
        delete(obj)
    except ProtectedError as refusal:
        refusal.protected_objects  # noqa: B018
        return refusal


def call_and_close(delete, obj):
    try:
        delete(obj)
    finally:
        connection.close()


def test_a_rule_of_the_project_s_own_may_ask_who_refuses(monkeypatch):
    """The collector calls it between two of its own."""
    obj = PageFactory(in_folder=True)
    operation, seen = tasks.protects.enqueue(obj), []

    def notes_who(collector, field, sub_objs, using):
        try:
            models.CASCADE(collector, field, sub_objs, using)
        except ProtectedError as refusal:
            seen.append(refusal.protected_objects)
            raise

    monkeypatch.setattr(Page._meta.get_field("folder").remote_field, "on_delete", notes_who)
    with pytest.raises(ObjectLocked):
        obj.folder.delete()
    assert seen == [{operation}]


def test_a_running_task_that_deletes_its_object_does_not_cancel_itself(worker):
    obj = PageFactory()
    result = tasks.deletes.delay(obj)
    waiting = tasks.cancelled_with.enqueue(obj)
    worker.deliver(worker.take()[0])
    assert Operation.objects.get(pk=result.id).state == State.SUCCEEDED
    assert state(waiting) == State.CANCELLED


@pytest.mark.parametrize("task", [tasks.cancelled_with, tasks.protects, tasks.copies])
def test_enqueueing_for_an_object_that_is_gone_is_refused_and_writes_nothing(task):
    obj = PageFactory()
    Page.objects.filter(pk=obj.pk).delete()
    with pytest.raises(ObjectGone, match=r"testapp\.page"):
        task.enqueue(obj)
    with pytest.raises(ObjectGone):
        task.enqueue_many([(PageFactory(),), (obj,)])
    assert not Operation.objects.exists()


def test_a_task_with_on_delete_keep_may_be_enqueued_for_an_object_that_is_gone(worker):
    obj = PageFactory()
    Page.objects.filter(pk=obj.pk).delete()
    operation = tasks.keeps.enqueue(obj)
    worker.deliver_one()
    assert state(operation) == State.CANCELLED


def test_a_task_with_on_delete_protect_is_refused_for_a_model_that_is_not_watched():
    from django_task_safety import InvalidOption

    with pytest.raises(InvalidOption, match="watch"):
        tasks.protects.enqueue(FolderFactory())


def test_an_operation_that_a_receiver_enqueues_during_the_delete_is_cancelled_or_protects_too(around):
    obj, protected = PageFactory.create_batch(2)

    def reindex(instance, **kwargs):
        (tasks.protects if instance.pk == protected.pk else tasks.cancelled_with).enqueue(instance)

    models.signals.pre_delete.connect(reindex)
    try:
        with around():
            obj.delete()
        with pytest.raises(ObjectLocked), around():
            protected.delete()
    finally:
        models.signals.pre_delete.disconnect(reindex)
    assert [one.state for one in Operation.objects.all()] == [State.CANCELLED]
    assert Page.objects.get() == protected


def test_a_task_with_on_delete_protect_needs_an_object_rather_than_its_id():
    @safe_task(on_delete=PROTECT)
    def publish(note): ...

    @safe_task(on_delete=PROTECT, subject="note")
    def publish_one_or_all(note=None): ...

    with pytest.raises(InvalidArguments, match=r"Pass the object instead of its id.*subject="):
        publish.delay(PageFactory().pk)
    assert not Operation.objects.exists()
    assert publish_one_or_all.enqueue().subject_label == ""
