"""``note.operations``: the relation from an object to what is pending on it."""

import pytest
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import Count, Prefetch, Q
from django.test.utils import isolate_apps

from django_task_safety import InvalidArguments, watch
from django_task_safety.models import Operation, PendingOperationsModel
from django_task_safety.objects.relation import is_watched
from tests.support.factories import ChapterFactory, CityFactory, PageFactory, PinnedPageFactory, SheetFactory
from tests.testapp.guarded_tasks import cancelled_with, keeps
from tests.testapp.models import Chapter, Effect, Page, PinnedPage

State = Operation.State
pytestmark = pytest.mark.django_db

MAKERS = {
    "integer": PageFactory,
    "uuid": SheetFactory,
    "string": CityFactory,
    "child": ChapterFactory,
    "proxy": PinnedPageFactory,
}


@pytest.fixture(params=MAKERS)
def obj(request):
    return MAKERS[request.param]()


def test_an_object_knows_its_operations_and_no_others(obj):
    mine = cancelled_with.enqueue(obj)
    cancelled_with.enqueue(PageFactory())
    assert list(obj.operations.all()) == [mine]
    assert list(obj.operations.pending()) == [mine]
    assert obj.operations.filter(state=State.QUEUED).count() == 1
    assert mine.subject == type(mine.subject).objects.get(pk=obj.pk)


def test_cancelling_an_objects_operations_ends_them_all(obj):
    operations = [cancelled_with.enqueue(obj, n) for n in range(3)]
    assert obj.operations.cancel() == 3
    assert not obj.operations.pending().exists()
    assert {Operation.objects.get(pk=one.pk).state for one in operations} == {State.CANCELLED}


def test_a_queryset_counts_filters_excludes_and_orders_by_operations(obj):
    model = type(obj)
    cancelled_with.enqueue(obj, 1)
    cancelled_with.enqueue(obj, 2).cancel()
    pending = Count("operations", filter=Q(operations__state=State.QUEUED))
    assert list(model.objects.annotate(n=Count("operations"), p=pending).values_list("n", "p")) == [(2, 1)]
    assert model.objects.filter(operations__state=State.CANCELLED).get() == obj
    assert not model.objects.filter(operations__state=State.FAILED).exists()
    assert not model.objects.exclude(operations__state=State.CANCELLED).exists()
    assert model.objects.exclude(operations__state=State.FAILED).get() == obj
    assert len(model.objects.order_by("operations__created_at")) == 2


def test_one_statement_prefetches_the_operations_of_many_objects(django_assert_num_queries):
    for count, page in enumerate(PageFactory.create_batch(5)):
        for n in range(count):
            cancelled_with.enqueue(page, n)
    with django_assert_num_queries(2):
        found = Page.objects.order_by("pk").prefetch_related("operations")
        assert [len(page.operations.all()) for page in found] == [0, 1, 2, 3, 4]


def test_a_child_its_parent_and_a_proxy_have_the_same_operations():
    chapter = ChapterFactory()
    operations = {
        cancelled_with.enqueue(chapter),
        cancelled_with.enqueue(Page.objects.get()),
        cancelled_with.enqueue(PinnedPage.objects.get()),
    }
    for model in (Chapter, Page, PinnedPage):
        assert set(model.objects.get().operations.all()) == operations
        assert model.objects.annotate(n=Count("operations")).get().n == 3


def test_an_unsaved_object_has_no_operations_and_says_so():
    with pytest.raises(InvalidArguments, match="never saved"):
        Page(title="new").operations.all()


def test_the_operations_of_an_object_cannot_be_assigned():
    with pytest.raises(InvalidArguments, match="enqueue a task"):
        PageFactory().operations = []


@pytest.fixture
def watched_group():
    from django_task_safety.objects import relation

    yield watch(Group)
    Group._meta.private_fields = [
        field for field in Group._meta.private_fields if not isinstance(field, relation.OperationsRelation)
    ]
    Group._meta._expire_cache()
    del Group.operations


def test_a_model_of_somebody_else_can_be_watched(watched_group):
    group = Group.objects.create(name="editors")
    assert watch(Group) is Group
    operation = keeps.enqueue(group)
    assert list(group.operations.all()) == [operation]
    assert Group.objects.filter(operations__state=State.QUEUED).get() == group


def test_watching_what_cannot_be_watched_is_refused():
    from django_task_safety.models import PendingOperationsModel

    with pytest.raises(InvalidArguments, match="abstract"):
        watch(PendingOperationsModel)
    with pytest.raises(InvalidArguments, match="made by Django"):
        watch(Page.linked.through)
    with pytest.raises(InvalidArguments, match="model class"):
        watch("auth.User")
    Effect._meta.managed = False
    try:
        with pytest.raises(InvalidArguments, match="unmanaged"):
            watch(Effect)
    finally:
        Effect._meta.managed = True


@pytest.fixture
def family():
    """A model with a child and a proxy that nobody watches yet."""
    with isolate_apps("tests.testapp"):

        class Plain(models.Model):
            class Meta:
                app_label = "testapp"

            def __str__(self) -> str:
                return "plain"

        class PlainChild(Plain):
            class Meta:
                app_label = "testapp"

        class PlainProxy(Plain):
            class Meta:
                app_label = "testapp"
                proxy = True

        yield Plain, PlainChild, PlainProxy


@pytest.mark.parametrize("which", range(3))
def test_watching_a_model_or_a_proxy_watches_all_its_rows_and_watching_a_child_only_that(family, which):
    plain, child, proxy = family
    assert watch(family[which]) is family[which]
    watched = {model for model in family if is_watched(model)}
    assert watched == ({child} if family[which] is child else {plain, child, proxy})
    assert watch(family[which])


def test_the_mixin_on_a_proxy_watches_the_model_itself(family):
    plain, child, proxy = family

    class Mixed(PendingOperationsModel, plain):
        class Meta:
            app_label = "testapp"
            proxy = True

    assert all(is_watched(model) for model in (Mixed, plain, child, proxy))


def test_a_model_with_an_attribute_named_operations_cannot_be_watched_nor_in_part(family):
    plain, child, _ = family
    child.operations = "its own"
    with pytest.raises(InvalidArguments, match="PlainChild has an attribute"):
        watch(plain)
    assert not is_watched(plain)


def test_operations_can_be_prefetched_with_a_queryset_of_the_callers(django_assert_num_queries):
    pages = PageFactory.create_batch(3)
    for page in pages:
        cancelled_with.enqueue(page, 1)
        cancelled_with.enqueue(page, 2).cancel()
    with django_assert_num_queries(2):
        found = Page.objects.prefetch_related(Prefetch("operations", queryset=Operation.objects.pending()))
        assert [len(page.operations.all()) for page in found] == [1, 1, 1]
    named = Page.objects.prefetch_related(
        Prefetch("operations", queryset=Operation.objects.pending(), to_attr="waiting")
    )
    assert [len(page.waiting) for page in named] == [1, 1, 1]
    assert named[0].operations.count() == 2
    with pytest.raises(InvalidArguments, match="sliced"):
        list(Page.objects.prefetch_related(Prefetch("operations", queryset=Operation.objects.all()[:1], to_attr="x")))


def test_objects_are_found_by_one_of_their_operations(obj):
    mine = cancelled_with.enqueue(obj)
    other = cancelled_with.enqueue(PageFactory())
    model = type(obj)
    for by in (mine, mine.pk, str(mine.pk)):
        assert model.objects.filter(operations=by).get() == obj
        assert not model.objects.exclude(operations=by).filter(pk=obj.pk).exists()
    assert not model.objects.filter(operations=other, pk=obj.pk).exists()
    assert model.objects.filter(operations__in=[mine]).get() == obj
    assert model.objects.filter(operations__in=Operation.objects.filter(pk=mine.pk)).get() == obj
    assert not model.objects.filter(operations__isnull=True).filter(pk=obj.pk).exists()


@isolate_apps("tests.testapp")
def test_the_check_finds_models_whose_operations_could_not_be_told_apart_or_found():
    class Dated(PendingOperationsModel):
        day = models.DateField(primary_key=True)

        class Meta:
            app_label = "testapp"

        def __str__(self) -> str:
            return str(self.day)

    class Counted(PendingOperationsModel):
        operations = models.IntegerField()

        class Meta:
            app_label = "testapp"

        def __str__(self) -> str:
            return str(self.pk)

    assert [one.id for one in Dated.check()] == ["task_safety.E004"]
    assert [one.id for one in Counted.check()] == ["task_safety.E005"]
    assert Page.check() == []
