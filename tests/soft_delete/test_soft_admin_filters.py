"""What a project's own classes filter, the admin of soft-deletable models filters too."""

from typing import Any

import pytest
from django.contrib import admin

from django_task_safety.admin import SoftDeleteAdmin
from django_task_safety.managers import SoftDeleteManager
from tests.notesapp.models import Copy, Note
from tests.notesapp.ways import note

pytestmark = pytest.mark.django_db


class TenantAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """A project's own base class."""

    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).filter(title__startswith=request.tenant)


class SoftTenantAdmin(SoftDeleteAdmin, TenantAdmin):
    ordering = ("title",)


class TenantSoftAdmin(TenantAdmin, SoftDeleteAdmin):
    ordering = ("title",)


class CopiedAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Its filter asks for live rows of another soft-deletable model."""

    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).filter(pk__in=Copy.objects.values("note"))


class SoftCopiedAdmin(SoftDeleteAdmin, CopiedAdmin):
    pass


class TenantManager(SoftDeleteManager[Any]):
    def get_queryset(self) -> Any:
        return super().get_queryset().filter(title__startswith="a")


class TenantNote(Note):
    objects = TenantManager()

    class Meta:
        app_label = "notesapp"
        proxy = True


@pytest.fixture
def asked(rf: Any) -> Any:
    request = rf.get("/")
    request.tenant, request.resolver_match = "a", None
    return request


@pytest.fixture
def titles() -> None:
    for title in ("a1", "a2", "b1", "b2"):
        given = note(title=title)
        if title.endswith("2"):
            given.delete()


@pytest.mark.usefixtures("titles")
@pytest.mark.parametrize("base", [SoftTenantAdmin, TenantSoftAdmin])
def test_a_filter_of_the_projects_own_base_class_holds(base: Any, asked: Any):
    assert [one.title for one in base(Note, admin.site).get_queryset(asked)] == ["a1", "a2"]


@pytest.mark.usefixtures("titles")
def test_a_filter_of_the_default_manager_holds(asked: Any):
    found = SoftDeleteAdmin(TenantNote, admin.site).get_queryset(asked)
    assert sorted(one.title for one in found) == ["a1", "a2"]
    assert [one.title for one in TenantNote.objects.all()] == ["a1"]


def test_removed_rows_of_other_models_stay_out_of_the_filter(asked: Any):
    live, gone = note(), note()
    Copy.objects.create(note=live)
    Copy.objects.create(note=gone).delete()
    assert list(SoftCopiedAdmin(Note, admin.site).get_queryset(asked)) == [live]
