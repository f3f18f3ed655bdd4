"""The checks of models with the mixins."""

import re
from types import SimpleNamespace

import pytest
from django.core import checks
from django.db import models
from django.test.utils import isolate_apps
from model_utils.managers import SoftDeletableManager

from django_task_safety.checks.models import check_models
from django_task_safety.locking.lockable import LockableQuerySet
from django_task_safety.models import LiveUniqueConstraint, LockableModel, SoftDeleteModel
from django_task_safety.soft_delete.managers import RemovedManager, SoftDeleteManager, SoftDeleteQuerySet
from tests.support.ids import label


class Slugs(models.QuerySet):
    """A queryset that knows nothing of the mixins."""


class SoftSlugs(SoftDeleteQuerySet):
    """One that derives from theirs."""


class LockableSlugs(LockableQuerySet):
    """Likewise."""


def ids(messages: list[checks.CheckMessage]) -> set[str]:
    return {message.id for message in messages}


class Plain(SoftDeleteModel):
    """The ways to be unique among removed rows as well."""

    slug = models.SlugField(unique=True)
    site = models.SlugField()
    page = models.SlugField()

    class Meta:
        app_label = "notesapp"
        abstract = True
        unique_together = (("site", "page"),)
        constraints = (models.UniqueConstraint(fields=["page"], name="%(class)s_page"),)


@isolate_apps("tests.notesapp")
def test_a_unique_value_that_removed_rows_hold_is_a_warning():
    class Bare(Plain):
        class Meta(Plain.Meta):
            pass

    class Live(SoftDeleteModel):
        slug = models.SlugField()

        class Meta:
            app_label = "notesapp"
            constraints = (
                LiveUniqueConstraint(fields=["slug"], name="live"),
                models.UniqueConstraint(fields=["slug"], name="some", condition=models.Q(slug="a")),
            )

    class Child(Bare):
        class Meta:
            app_label = "notesapp"

    class Proxy(Bare):
        class Meta:
            app_label = "notesapp"
            proxy = True

    config = SimpleNamespace(get_models=lambda: [Bare, Live, Child, Proxy])
    found = check_models([config])
    assert ids(found) == {"task_safety.W004"}
    assert {message.obj for message in found} == {Bare}
    assert [re.findall(r"unique by (.*) among", message.msg) for message in found] == [
        ["slug"], ["site, page"], ["page"]
    ]  # fmt: skip
    assert all("LiveUniqueConstraint" in str(message.hint) for message in found)


@isolate_apps("tests.notesapp")
def test_a_base_manager_that_leaves_out_removed_rows_is_warned_of():
    class Hidden(SoftDeleteModel):
        class Meta:
            app_label = "notesapp"
            base_manager_name = "objects"

    class Seen(SoftDeleteModel):
        class Meta:
            app_label = "notesapp"
            base_manager_name = "all_objects"

    (found,) = check_models([SimpleNamespace(get_models=lambda: [Hidden, Seen])])
    assert (found.id, found.obj) == ("task_safety.W007", Hidden)


def foreign_managers(*found: type[models.Model]) -> dict[str, list[str]]:
    """Return the managers that are warned of, by model."""
    messages = check_models([SimpleNamespace(get_models=lambda: found)])
    assert ids(messages) <= {"task_safety.W008"}
    assert all("django_task_safety.managers" in message.hint for message in messages)
    return {
        model.__name__: [message.msg.split()[0].rpartition(".")[2] for message in messages if message.obj is model]
        for model in found
    }


@isolate_apps("tests.notesapp")
def test_a_manager_that_does_not_know_of_removed_rows_is_a_warning():
    class Foreign(SoftDeleteModel):
        objects = Slugs.as_manager()
        plain = models.Manager()
        theirs = SoftDeletableManager(_emit_deprecation_warnings=False)
        half = SoftSlugs.as_manager()

        class Meta:
            app_label = "notesapp"

    class Derived(SoftDeleteModel):
        objects = SoftDeleteManager.from_queryset(SoftSlugs)()
        archive = RemovedManager.from_queryset(SoftSlugs)()

        class Meta:
            app_label = "notesapp"

    class Both(LockableModel, SoftDeleteModel):
        lock_blocks = frozenset({"save"})

        class Meta:
            app_label = "notesapp"

    assert foreign_managers(Foreign, Derived, Both) == {
        "Foreign": ["objects", "plain", "theirs", "half"], "Derived": [], "Both": []
    }  # fmt: skip


@isolate_apps("tests.notesapp")
def test_a_manager_that_does_not_look_at_the_locks_that_block_saving_is_a_warning():
    class Foreign(LockableModel):
        lock_blocks = frozenset({"save"})
        objects = Slugs.as_manager()

        class Meta:
            app_label = "notesapp"

    class Derived(LockableModel):
        lock_blocks = ("save", "delete")
        objects = LockableSlugs.as_manager()

        class Meta:
            app_label = "notesapp"

    class Deletes(LockableModel):
        objects = Slugs.as_manager()

        class Meta:
            app_label = "notesapp"

    assert foreign_managers(Foreign, Derived, Deletes) == {"Foreign": ["objects"], "Derived": [], "Deletes": []}


@pytest.mark.parametrize("blocks", ["save", {"delete", "update"}, ["Save"], {None}, True, None], ids=label)
@isolate_apps("tests.notesapp")
def test_lock_blocks_with_what_a_lock_cannot_block_is_an_error(blocks):
    class Misspelt(LockableModel):
        lock_blocks = blocks

        class Meta:
            app_label = "notesapp"

    (error,) = (one for one in check_models([SimpleNamespace(get_models=lambda: [Misspelt])]) if one.level >= 40)
    assert (error.id, error.obj) == ("task_safety.E006", Misspelt)
    assert repr(blocks) in error.msg
