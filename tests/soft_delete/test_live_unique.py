"""LiveUniqueConstraint: unique among the rows that are not removed, on every database."""

from collections.abc import Iterator

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, migrations, models, transaction
from django.db.migrations.state import ProjectState
from django.db.migrations.writer import MigrationWriter
from django.forms import modelform_factory

from django_task_safety import RestoreConflict
from django_task_safety.models import LiveUniqueConstraint
from tests.notesapp.models import Address


@pytest.mark.django_db
def test_two_live_rows_cannot_share_a_live_unique_value():
    Address.objects.create(slug="a")
    with pytest.raises(IntegrityError), transaction.atomic():
        Address.objects.create(slug="a")
    assert Address.objects.create(slug="b").pk


@pytest.mark.django_db
def test_any_number_of_removed_rows_may_share_a_unique_value():
    for _ in range(3):
        Address.objects.create(slug="a").delete()
    assert Address.objects.create(slug="a").pk
    assert Address.all_objects.filter(slug="a").count() == 4


@pytest.mark.django_db
def test_get_or_create_passes_over_the_removed_row():
    removed = Address.objects.create(slug="a")
    removed.delete()
    created, is_new = Address.objects.get_or_create(slug="a")
    assert is_new
    assert created != removed


@pytest.mark.django_db
def test_a_form_shows_a_live_unique_conflict_at_the_field():
    form_class = modelform_factory(Address, fields=["slug"])
    Address.objects.create(slug="gone").delete()
    live = Address.objects.create(slug="a")
    form = form_class({"slug": "a"})
    assert form.errors == {"slug": ["Address with this Slug already exists."]}
    assert form_class({"slug": "gone"}).is_valid()
    assert form_class({"slug": "a"}, instance=live).is_valid()


@pytest.mark.django_db
def test_full_clean_finds_a_live_unique_conflict():
    Address.objects.create(slug="a", site="x")
    with pytest.raises(ValidationError) as raised:
        Address(slug="a", site="x").full_clean()
    assert set(raised.value.message_dict) == {"slug", "__all__"}
    removed = Address(slug="a", site="x", is_removed=True)
    removed.full_clean()
    assert removed.slug == "a"


def test_a_live_unique_constraint_uses_the_projects_error_message():
    constraint = LiveUniqueConstraint(fields=["slug"], name="x", violation_error_message="Taken.")
    assert constraint.get_violation_error_message() == "Taken."
    assert constraint.clone() == constraint


def test_a_live_unique_constraint_is_written_to_migrations_by_its_public_name():
    constraint = LiveUniqueConstraint(fields=["slug"], name="x")
    text, imports = MigrationWriter.serialize(constraint)
    assert text == "django_task_safety.models.LiveUniqueConstraint(fields=('slug',), name='x')"
    assert imports == {"import django_task_safety.models"}
    _, args, kwargs = constraint.deconstruct()
    assert (args, kwargs) == ((), {"fields": ("slug",), "name": "x"})


@pytest.mark.django_db
def test_django_warns_on_no_database_that_a_live_unique_constraint_is_not_created():
    assert Address.check(databases=["default"]) == []


CREATE = migrations.CreateModel(
    "Place",
    [
        ("id", models.BigAutoField(primary_key=True)),
        ("slug", models.CharField(max_length=20)),
        ("is_removed", models.BooleanField(default=False)),
    ],
)
ADD = migrations.AddConstraint("Place", LiveUniqueConstraint(fields=["slug"], name="live_place"))


@pytest.fixture
def place(transactional_db) -> Iterator[list[migrations.operations.base.Operation]]:
    """The operations that were applied, to be undone."""
    applied: list[migrations.operations.base.Operation] = []
    yield applied
    for index in range(len(applied) - 1, -1, -1):
        migrate(applied[:index], applied[index], forwards=False)
    with connection.cursor() as cursor:
        assert "migrated_place" not in connection.introspection.table_names(cursor)


def after(operations: list[migrations.operations.base.Operation]) -> ProjectState:
    state = ProjectState()
    for one in operations:
        one.state_forwards("migrated", state)
    return state


def migrate(before: list, operation: migrations.operations.base.Operation, forwards: bool = True) -> ProjectState:
    old, new = after(before), after([*before, operation])
    with connection.schema_editor() as editor:
        if forwards:
            operation.database_forwards("migrated", editor, old, new)
        else:
            operation.database_backwards("migrated", editor, new, old)
    return new


def columns() -> list[str]:
    with connection.cursor() as cursor:
        return [column.name for column in connection.introspection.get_table_description(cursor, "migrated_place")]


def allowed(state: ProjectState, *rows: tuple[str, bool]) -> bool:
    """Whether these may be there together."""
    place = state.apps.get_model("migrated", "Place")
    try:
        with transaction.atomic():
            for slug, is_removed in rows:
                place.objects.create(slug=slug, is_removed=is_removed)
    except IntegrityError:
        return False
    place.objects.all().delete()
    return True


def assert_unique_among_the_live(state: ProjectState) -> None:
    assert not allowed(state, ("a", False), ("a", False))
    assert allowed(state, ("a", True), ("a", True), ("a", False), ("b", False))


def test_a_live_unique_constraint_is_created_with_its_table(place):
    create = migrations.CreateModel(CREATE.name, CREATE.fields, {"constraints": [ADD.constraint]})
    state = migrate([], create)
    place.append(create)
    assert_unique_among_the_live(state)


def test_a_live_unique_constraint_is_added_and_removed_by_migrations_in_both_directions(place):
    migrate([], CREATE)
    place.append(CREATE)
    before = columns()
    state = migrate(place, ADD)
    assert_unique_among_the_live(state)
    migrate(place, ADD, forwards=False)
    assert columns() == before
    state = migrate(place, ADD)
    place.append(ADD)
    remove = migrations.RemoveConstraint("Place", "live_place")
    state = migrate(place, remove)
    assert columns() == before
    assert allowed(state, ("a", False), ("a", False))
    migrate(place, remove, forwards=False)
    assert_unique_among_the_live(after(place))


def test_a_live_unique_constraint_with_a_condition_is_refused_with_the_way_to_write_it():
    with pytest.raises(TypeError, match=r"UniqueConstraint with condition=Q\(is_removed=False\)"):
        LiveUniqueConstraint(fields=["slug"], name="live", condition=models.Q(slug="a"))


@pytest.mark.django_db
def test_a_row_that_an_update_marked_is_removed_to_the_constraint_and_to_restore():
    marked = Address.objects.create(slug="a")
    Address.objects.filter(pk=marked.pk).update(is_removed=True)
    live = Address.objects.create(slug="a")
    with pytest.raises(RestoreConflict), transaction.atomic():
        Address.all_objects.get(pk=marked.pk).restore()
    live.delete()
    assert Address.all_objects.filter(pk=marked.pk).restore()[0] == 1
    assert list(Address.objects.all()) == [marked]
