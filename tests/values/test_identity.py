"""One identity per object: however its instance was made, read or passed."""

import uuid

import pytest
from django.db import models
from django.test.utils import isolate_apps

from django_task_safety import InvalidArguments, idempotent_task, safe_task, watch
from django_task_safety.models import Operation
from django_task_safety.values.identity import Identity, check_identity
from django_task_safety.values.references import Reference
from tests.testapp.models import Chapter, City, Page, PinnedPage, Sheet

received: list[object] = []


@idempotent_task
def once(obj: object) -> None:
    received.append(obj)


@idempotent_task(key=lambda obj: {"about": [obj]})
def once_by_a_function(obj: object) -> None:
    received.append(obj)


@idempotent_task(key="number", match=["obj"])
def matches(number: int, obj: object) -> None:
    received.append(obj)


@safe_task
def takes(value: object) -> None:
    received.append(value)


@pytest.fixture(autouse=True)
def _nothing_received():
    received.clear()


def saved(model: type[models.Model], **values: object) -> models.Model:
    """An instance that says that it was saved, in no database."""
    instance = model(**values)
    instance._state.adding, instance._state.db = False, "default"
    return instance


def test_a_child_its_parent_a_proxy_and_a_deferred_instance_are_one_object(db, django_assert_num_queries):
    chapter = Chapter.objects.create(title="c")
    ways = [
        chapter,
        Page.objects.get(),
        PinnedPage.objects.get(),
        *(Chapter.objects.only("number"), Chapter.objects.only("title"), Page.objects.only("views")),
    ]
    instances = [way.get() if isinstance(way, models.QuerySet) else way for way in ways]
    with django_assert_num_queries(0):
        assert {Identity.of(one) for one in instances} == {Identity("testapp.page", str(chapter.pk), "default")}
        assert {Reference.to(one).identity for one in instances} == {Identity.of(chapter)}


@pytest.mark.parametrize("given", [7, "7", "07"])
def test_a_whole_number_is_one_key_however_it_was_written(given):
    assert Identity.of(saved(Page, id=given)).pk == "7"


def test_a_uuid_is_one_key_however_it_was_written():
    pk = uuid.uuid4()
    texts = {Identity.of(saved(Sheet, id=given)).pk for given in (pk, str(pk), pk.hex.upper())}
    assert texts == {pk.hex} == {Reference("testapp.sheet", str(pk), "default").identity.pk}


def test_a_text_says_where_the_object_is_only_where_that_is_not_the_default_database():
    assert str(Identity("testapp.page", "7", "default")) == "testapp.page 7"
    assert str(Identity("testapp.page", "7", "other")) == "testapp.page 7 in the database 'other'"


@isolate_apps("tests.testapp")
def test_a_child_with_a_primary_key_of_its_own_is_known_by_that_of_its_root():
    class Own(Page):
        own = models.IntegerField(primary_key=True)
        page = models.OneToOneField(Page, models.CASCADE, parent_link=True)

        class Meta:
            app_label = "testapp"

    own = saved(Own, own=3, id=7, page_id=7)
    assert Identity.of(own) == Identity.of(saved(Page, id=7))
    assert Reference.to(own) == Reference("testapp.own", "7", "default")


@isolate_apps("tests.testapp")
def test_a_composite_primary_key_is_refused_by_name_wherever_an_object_is_told():
    class Placed(models.Model):
        pk = models.CompositePrimaryKey("row", "column")
        row = models.IntegerField()
        column = models.IntegerField()

        class Meta:
            app_label = "testapp"

        def __str__(self) -> str:
            return "placed"

    placed = saved(Placed, row=1, column=2)
    for refused in (takes.enqueue, takes.delay, lambda obj: takes.delay([obj]), Operation.objects.for_object):
        with pytest.raises(InvalidArguments, match="Placed has a composite primary key"):
            refused(placed)
    with pytest.raises(InvalidArguments, match="CompositePrimaryKey"):
        check_identity(Placed)
    with pytest.raises(InvalidArguments, match="CompositePrimaryKey"):
        watch(Placed)


@pytest.mark.parametrize("task", [once, once_by_a_function], ids=lambda task: task.name.rpartition(".")[2])
@pytest.mark.parametrize("first", [Chapter, Page, PinnedPage])
def test_one_object_is_one_key_by_whatever_class_it_is_passed(worker, task, first):
    Chapter.objects.create(title="c")
    operations = {task.enqueue(first.objects.get())}
    operations |= {task.enqueue(model.objects.get()) for model in (PinnedPage, Page, Chapter)}
    worker.drain()
    task.delay(Page.objects.get())
    worker.drain()
    assert len(operations) == 1
    assert [type(one) for one in received] == [first]


def test_the_option_match_compares_the_object_and_not_its_class(worker):
    Chapter.objects.create(title="c")
    assert matches.enqueue(1, Chapter.objects.get()) == matches.enqueue(1, PinnedPage.objects.get())


def test_objects_of_two_models_with_equal_keys_are_two(worker):
    page, city = Page.objects.create(title="a"), City.objects.create(code="1")
    Page.objects.filter(pk=page.pk).update(id=1)
    assert once.enqueue(Page.objects.get()) != once.enqueue(city)


def test_a_task_gets_its_object_freshly_loaded_as_the_class_that_was_passed(worker):
    Chapter.objects.create(title="old", number=3)
    for model in (Chapter, Page, PinnedPage):
        takes.delay(model.objects.get())
    Page.objects.update(title="new")
    worker.drain()
    assert [(type(one), one.title) for one in received] == [(Chapter, "new"), (Page, "new"), (PinnedPage, "new")]
