"""The guard in the database: what deletes past Django's collector meets the same rules as what goes through it."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, migrations, models, transaction
from django.db.migrations.optimizer import MigrationOptimizer
from django.db.migrations.state import ModelState
from django.db.migrations.writer import MigrationWriter
from django.utils import timezone

from django_task_safety import ObjectGone, ObjectLocked
from django_task_safety.errors import GuardImpossible, InvalidArguments, InvalidOption
from django_task_safety.models import Operation
from django_task_safety.objects import conflicts
from django_task_safety.operations import GuardDeletes, UnguardDeletes
from tests.support.deleting import assert_delete_cancels, assert_delete_is_refused
from tests.support.guards import installed, migrate, project_state, raw, unchanged_state
from tests.support.ids import label
from tests.support.operations import state
from tests.support.workers import until
from tests.testapp import guarded_tasks as tasks
from tests.testapp.models import Chapter, City, Page, Sheet

State = Operation.State
DB_CASCADE = getattr(models, "DB_CASCADE", None)
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def guarded(transactional_db):
    with installed("Page", "Chapter", "Sheet", "City"):
        yield


def raw_delete(obj):
    found = type(obj).objects.filter(pk=obj.pk)
    found._raw_delete(found.db)


#: How to make an object whose primary key says something about the comparison in SQL.
OBJECTS = {
    "number": lambda: Page.objects.create(title="a"),
    "uuid": Sheet.objects.create,
    "string": lambda: City.objects.create(code='it\'s "x" %s\\y'),
    "child": lambda: Chapter.objects.create(title="c"),
}


@pytest.fixture(params=OBJECTS)
def obj(request, guarded):
    return OBJECTS[request.param]()


@pytest.fixture(params=[raw, raw_delete])
def delete(request):
    return request.param


def rows(obj):
    return type(obj).objects.filter(pk=obj.pk)


def test_a_protected_row_is_not_deleted_by_sql_either(obj, delete):
    operation, cancelled = tasks.protects.enqueue(obj), tasks.cancelled_with.enqueue(obj)
    with pytest.raises(IntegrityError) as refusal, transaction.atomic():
        delete(obj)
    assert not isinstance(refusal.value, ObjectLocked)
    assert "cannot be deleted" in str(refusal.value)
    said = str(refusal.value.args[-1]).replace("-", "")
    if connection.vendor == "sqlite":
        assert operation.subject_label in said
    else:
        assert f"{operation.subject_label} {operation.subject_id.replace('-', '')}" in said
        assert operation.pk.hex in said
    assert rows(obj).exists()
    assert state(operation) == state(cancelled) == State.QUEUED


def test_deleting_a_guarded_row_by_sql_cancels_what_is_pending_on_it(obj, delete):
    waiting, running = tasks.cancelled_with.enqueue(obj, 1), tasks.cancelled_with.enqueue(obj, 2)
    Operation.objects.filter(pk=running.pk).update(state=State.RUNNING, token=uuid.uuid4(), deadline_at=timezone.now())
    kept, kept_running = tasks.keeps.enqueue(obj, 1), tasks.keeps.enqueue(obj, 2)
    Operation.objects.filter(pk=kept_running.pk).update(state=State.RUNNING, token=uuid.uuid4())
    other = tasks.cancelled_with.enqueue(Page.objects.create(title="other"))
    ended = tasks.protects.enqueue(obj)
    Operation.objects.filter(pk=ended.pk).update(state=State.SUCCEEDED)
    delete(obj)
    assert not rows(obj).exists()
    assert state(waiting) == state(running) == state(kept) == State.CANCELLED
    assert state(kept_running) == State.RUNNING
    assert state(other) == State.QUEUED
    assert state(ended) == State.SUCCEEDED


def test_a_guarded_delete_that_is_rolled_back_cancels_nothing(obj, delete):
    operation = tasks.cancelled_with.enqueue(obj)
    with transaction.atomic():
        delete(obj)
        transaction.set_rollback(True)
    assert state(operation) == State.QUEUED


@pytest.mark.parametrize("task", [tasks.protects, tasks.cancelled_with, tasks.keeps])
def test_a_guarded_delete_leaves_the_operations_of_objects_with_other_keys_alone(task, guarded):
    one, other = City.objects.create(code="1"), City.objects.create(code="11")
    operation = task.enqueue(other)
    # The same key, but of another model.
    elsewhere = task.enqueue(Page.objects.create(pk=1, title="a"))
    raw(one)
    assert state(operation) == state(elsewhere) == State.QUEUED


@pytest.mark.parametrize("delivered", [True, False])
@pytest.mark.parametrize("retention", [timedelta(days=3, microseconds=7), None])
@pytest.mark.parametrize("use_tz", [True, False])
def test_the_trigger_writes_what_the_ledger_writes(delivered, retention, use_tz, settings, transactional_db):
    settings.USE_TZ = use_tz
    connection.close()
    if not use_tz:
        settings.TIME_ZONE = "UTC"
    written = []
    with installed("Page"):
        for delete in (lambda page: page.delete(), raw):
            page = Page.objects.create(title="a")
            operation = tasks.copies.enqueue(page)
            values = {"delivered": delivered, "retention": retention, "deadline_at": timezone.now()}
            Operation.objects.filter(pk=operation.pk).update(**values, state=State.RUNNING, token=uuid.uuid4())
            delete(page)
            ended = Operation.objects.get(pk=operation.pk)
            due = ended.due_at and round((ended.due_at - ended.ended_at).total_seconds(), 1)
            fresh = abs(timezone.now() - ended.ended_at) < timedelta(minutes=1)
            columns = ("state", "token", "deadline_at", "lock_slot", "error", "revision", "on_delete", "delivered")
            written.append({**{name: getattr(ended, name) for name in columns}, "due": due, "fresh": fresh})
    connection.close()
    assert written[0] == written[1]
    assert written[0]["fresh"]


def lock_of_code(page, ends):
    """A lock that a block of code holds."""
    operation = tasks.protects.enqueue(page)
    values = {"task": conflicts.LOCK, "state": State.RUNNING, "due_at": timezone.now() + ends}
    Operation.objects.filter(pk=operation.pk).update(**values)
    return operation


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", None])
def test_a_lock_protects_a_guarded_row_until_its_lease_runs_out(zone, settings, transactional_db):
    if zone is not None:
        settings.USE_TZ, settings.TIME_ZONE = False, zone
    connection.close()
    try:
        if zone == "America/New_York" and connection.vendor == "mysql" and not knows(zone):
            with pytest.raises(GuardImpossible, match="time zone tables"):
                migrate(GuardDeletes("Page"))
            return
        with installed("Page"):
            held, lapsed = Page.objects.create(title="a"), Page.objects.create(title="b")
            lock_of_code(held, timedelta(minutes=5))
            lock_of_code(lapsed, timedelta(minutes=-5))
            raw(lapsed)
            with pytest.raises(IntegrityError):
                raw(held)
            assert [page.pk for page in Page.objects.all()] == [held.pk]
    finally:
        connection.close()


def knows(zone):
    with connection.cursor() as cursor:
        cursor.execute("SELECT CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', %s)", [zone])
        return cursor.fetchone()[0] is not None


def test_a_delete_of_many_rows_is_refused_as_a_whole_where_one_is_protected(guarded):
    pages = [Page.objects.create(title=str(number)) for number in range(3)]
    cancelled = [tasks.cancelled_with.enqueue(page) for page in pages]
    protecting = tasks.protects.enqueue(pages[1])
    with pytest.raises(IntegrityError), connection.cursor() as cursor:
        cursor.execute("DELETE FROM testapp_page")
    assert Page.objects.count() == 3
    assert {state(operation) for operation in cancelled} == {State.QUEUED}
    protecting.cancel()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM testapp_page")
    assert {state(operation) for operation in cancelled} == {State.CANCELLED}


def test_the_guard_does_not_keep_djangos_own_deletes_from_cancelling(guarded, path, around):
    assert_delete_cancels(path, around)


def test_djangos_own_deletes_of_guarded_rows_are_refused_with_the_error_that_names_the_operation(guarded, path, around):
    assert_delete_is_refused(path, around)


@pytest.mark.parametrize("make", OBJECTS)
@pytest.mark.parametrize("policy", ["cancel", "protect", "keep"])
def test_the_guard_spares_a_running_task_that_deletes_its_object(worker, guarded, make, policy):
    obj = OBJECTS[make]()
    result = tasks.deletes.delay(obj)
    Operation.objects.filter(pk=result.id).update(on_delete=policy)
    waiting = tasks.cancelled_with.enqueue(obj)
    worker.deliver(worker.take()[0])
    assert Operation.objects.get(pk=result.id).state == State.SUCCEEDED
    assert state(waiting) == State.CANCELLED
    assert not rows(obj).exists()


def test_the_guard_spares_an_attempt_and_not_the_one_after_it(worker, guarded):
    """The exemption is one of an attempt, not of a connection."""
    obj = Page.objects.create(title="a")
    result = tasks.deletes_and_fails.delay(obj)
    Operation.objects.filter(pk=result.id).update(on_delete="protect")
    worker.deliver(worker.take()[0])
    assert Operation.objects.get(pk=result.id).state == State.QUEUED
    with pytest.raises(IntegrityError):
        raw(obj)
    assert rows(obj).exists()


def test_the_guard_in_the_database_is_removed_without_a_trace(transactional_db):
    page = Page.objects.create(title="a")
    tasks.protects.enqueue(page)
    before = objects_in_the_database()
    with installed("Page", "Chapter", "Sheet", "City"):
        assert objects_in_the_database() != before
    assert objects_in_the_database() == before
    raw(page)
    assert not rows(page).exists()


def objects_in_the_database():
    sql = {
        "sqlite": "SELECT name FROM sqlite_master",
        "postgresql": "SELECT tgname::text FROM pg_trigger UNION SELECT proname::text FROM pg_proc",
        "mysql": "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE()",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return {name for (name,) in cursor.fetchall()}


def test_the_guard_in_the_database_may_be_installed_again(guarded):
    with installed("page"):
        page = Page.objects.create(title="a")
        tasks.protects.enqueue(page)
        with pytest.raises(IntegrityError):
            raw(page)


def test_the_trigger_on_a_parent_does_not_watch_the_childs_table(transactional_db):
    chapter = Chapter.objects.create(title="c")
    operation = tasks.protects.enqueue(chapter)
    with installed("Page"):
        raw(chapter)
        with pytest.raises(IntegrityError):
            raw(Page.objects.get(pk=chapter.pk))
    assert state(operation) == State.QUEUED


def named(name, **options):
    return ModelState("testapp", name, [("id", models.BigAutoField(primary_key=True))], options)


@pytest.mark.parametrize(("name", "said"), [("Nothing", "no model"), ("PinnedPage", "proxy"), ("Legacy", "unmanaged")])
def test_guard_deletes_refuses_a_model_that_has_no_table_of_its_own(name, said, transactional_db):
    state = project_state()
    state.add_model(named("Legacy", managed=False))
    with pytest.raises(GuardImpossible, match=said):
        migrate(GuardDeletes(name), state)


def test_guard_deletes_refuses_a_primary_key_that_operations_cannot_name(transactional_db):
    state = project_state()
    state.add_model(ModelState("testapp", "Odd", [("id", models.FloatField(primary_key=True))]))
    with pytest.raises(InvalidArguments, match="FloatField"):
        migrate(GuardDeletes("Odd"), state)


def test_guard_deletes_refuses_a_child_with_a_primary_key_of_its_own(transactional_db):
    link = models.OneToOneField("testapp.page", models.CASCADE, parent_link=True)
    own = ModelState("testapp", "Own", [("own", models.BigAutoField(primary_key=True)), ("page", link)])
    own.bases = ("testapp.page",)
    state = project_state()
    state.add_model(own)
    below = models.OneToOneField("testapp.own", models.CASCADE, parent_link=True, primary_key=True)
    state.add_model(ModelState("testapp", "Below", [("own_ptr", below)], bases=("testapp.own",)))
    with pytest.raises(GuardImpossible, match="primary key of its own"):
        migrate(GuardDeletes("Below"), state)


def test_guard_deletes_refuses_operations_in_another_database(settings, monkeypatch, transactional_db):
    monkeypatch.setitem(settings.DATABASES, "elsewhere", {})
    settings.TASK_SAFETY = {"DATABASE": "elsewhere"}
    with pytest.raises(GuardImpossible, match="'elsewhere'"):
        migrate(GuardDeletes("Page"))


def test_guard_deletes_without_the_table_of_operations_names_the_missing_dependency(monkeypatch, transactional_db):
    monkeypatch.setattr(Operation._meta, "db_table", "not_there_yet")
    with pytest.raises(GuardImpossible, match="0001_initial"):
        migrate(GuardDeletes("Page"))


def test_a_database_router_may_keep_the_guard_out(settings, transactional_db):
    class Nowhere:
        def allow_migrate(self, db, app_label, **hints):
            return False

    before = objects_in_the_database()
    settings.DATABASE_ROUTERS = [Nowhere()]
    migrate(GuardDeletes("Page"))
    assert objects_in_the_database() == before


def test_guard_deletes_can_be_written_to_a_migration_file():
    operation = GuardDeletes("Page")
    assert operation.describe() == "Guard deletes of model Page"
    assert operation.migration_name_fragment == "guard_deletes_page"
    assert operation.reduces_to_sql
    assert operation.reversible
    written = MigrationWriter(type("Migration", (migrations.Migration,), {"operations": [operation]})("0001", "a"))
    namespace = {}
    exec(written.as_string(), namespace)
    (again,) = namespace["Migration"].operations
    assert (type(again), again.name) == (GuardDeletes, "Page")


def test_squashing_migrations_keeps_guard_deletes_in_its_place():
    page = migrations.CreateModel("Page", [("id", models.BigAutoField(primary_key=True))])
    guard, delete = GuardDeletes("Page"), migrations.DeleteModel("Page")
    assert MigrationOptimizer().optimize([page, guard, delete], "testapp") == [page, guard, delete]


def test_sqlmigrate_shows_the_guard_without_the_table_of_operations(monkeypatch, transactional_db):
    monkeypatch.setattr(Operation._meta, "db_table", "not_there_yet")
    with connection.schema_editor(collect_sql=True) as editor:
        GuardDeletes("City").database_forwards("testapp", editor, unchanged_state(), unchanged_state())
    assert "CREATE TRIGGER" in "\n".join(editor.collected_sql)


@pytest.mark.skipif(connection.vendor != "mysql", reason="what else flushes with a DELETE has no such switch")
def test_turning_off_foreign_keys_turns_off_the_guard_in_sqlite(guarded):
    page = Page.objects.create(title="a")
    operation = tasks.protects.enqueue(page)
    with connection.constraint_checks_disabled():
        raw(page)
    assert not rows(page).exists()
    assert state(operation) == State.QUEUED


@pytest.mark.parametrize("given", [Page, "testapp.Page", "", None], ids=label)
def test_guard_deletes_refuses_what_is_no_models_name(given):
    with pytest.raises(InvalidOption, match="takes a model's name"):
        GuardDeletes(given)


def test_guarded_tables_can_be_flushed(guarded):
    tasks.protects.enqueue(Page.objects.create(title="a"))
    if connection.vendor == "sqlite":
        # Which deletes row by row, in no order: what protects goes first.
        Operation.objects.cancel()
    call_command("flush", interactive=False, verbosity=0, reset_sequences=False)
    assert not Page.objects.exists()


@pytest.fixture
def racks(transactional_db):
    """Archive > Rack > Leaf, where the database deletes what is below."""
    cascade = {"on_delete": DB_CASCADE}
    key = ("id", models.BigAutoField(primary_key=True))
    state = project_state()
    state.add_model(ModelState("testapp", "Archive", [key]))
    state.add_model(ModelState("testapp", "Rack", [key, ("archive", models.ForeignKey("testapp.Archive", **cascade))]))
    leaf = [("code", models.CharField(max_length=20, primary_key=True))]
    state.add_model(ModelState("testapp", "Leaf", [*leaf, ("rack", models.ForeignKey("testapp.Rack", **cascade))]))
    made = [state.apps.get_model("testapp", name) for name in ("Archive", "Rack", "Leaf")]
    with connection.schema_editor() as editor:
        for model in made:
            editor.create_model(model)
    migrate(GuardDeletes("Leaf"), state)
    yield made
    migrate(GuardDeletes("Leaf"), state, backwards=True)
    with connection.schema_editor() as editor:
        for model in reversed(made):
            editor.delete_model(model)


def about(task, leaf):
    operation = task.enqueue(City.objects.create(code=str(uuid.uuid4())[:20]))
    Operation.objects.filter(pk=operation.pk).update(subject_label="testapp.leaf", subject_id=leaf.pk)
    return operation


@pytest.mark.skipif(DB_CASCADE is None, reason="Django 6.1")
@pytest.mark.parametrize("above", ["archive", "rack"])
@pytest.mark.parametrize("through", [raw, lambda obj: obj.delete()], ids=["raw", "orm"])
class TestCascadesOfTheDatabase:
    @pytest.fixture
    def leaf(self, racks):
        archive, rack, leaf = racks
        return [
            leaf.objects.create(code=code, rack=rack.objects.create(archive=archive.objects.create()))
            for code in ("a", "b'")
        ]

    @pytest.fixture
    def top(self, leaf, above):
        return leaf[1].rack if above == "rack" else leaf[1].rack.archive

    def test_cascades_of_the_database_are_refused_for_a_protected_row(self, leaf, top, through):
        operation = about(tasks.protects, leaf[1])
        with pytest.raises(IntegrityError, match="cannot be deleted"), transaction.atomic():
            through(top)
        assert type(leaf[1]).objects.count() == 2
        assert state(operation) == State.QUEUED

    def test_cascades_of_the_database_cancel_what_is_pending(self, leaf, top, through):
        gone, kept, other = (
            about(tasks.cancelled_with, leaf[1]),
            about(tasks.keeps, leaf[1]),
            about(tasks.keeps, leaf[0]),
        )
        through(top)
        assert [one.pk for one in type(leaf[1]).objects.all()] == ["a"]
        assert state(gone) == state(kept) == State.CANCELLED
        assert state(other) == State.QUEUED


@pytest.mark.skipif(DB_CASCADE is None or connection.vendor != "mysql", reason="only there it matters")
def test_guard_deletes_refuses_a_circle_of_cascades(transactional_db):
    link = models.ForeignKey("self", DB_CASCADE, null=True)
    state = project_state()
    state.add_model(ModelState("testapp", "Tree", [("id", models.BigAutoField(primary_key=True)), ("up", link)]))
    with pytest.raises(GuardImpossible, match="circle"):
        migrate(GuardDeletes("Tree"), state)


def beside(work):
    """Start work in a thread with a connection of its own."""

    def run():
        try:
            return work()
        finally:
            connection.close()

    pool = ThreadPoolExecutor(1)
    future = pool.submit(run)
    pool.shutdown(wait=False)
    return future


def waits_for_a_lock():
    """To be asked at intervals of more than 0.1 seconds, for which InnoDB repeats its answer: that of an earlier test,
    too, were it not for the list of living connections."""
    sql = {
        "postgresql": "SELECT count(*) FROM pg_locks WHERE NOT granted",
        "mysql": "SELECT count(*) FROM information_schema.innodb_trx JOIN information_schema.processlist "
        "ON id = trx_mysql_thread_id WHERE trx_state = 'LOCK WAIT'",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return bool(cursor.fetchone()[0])


two_writers = pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")


@two_writers
@pytest.mark.parametrize("task", [tasks.protects, tasks.cancelled_with])
@pytest.mark.parametrize("look_first", [False, True], ids=["", "in a transaction that has looked before"])
def test_a_guarded_delete_that_waited_for_an_enqueue_sees_its_operation(obj, task, look_first):
    with transaction.atomic():
        operation = task.enqueue(obj)

        def deletes():
            with transaction.atomic():
                if look_first:
                    assert not Operation.objects.exists()
                raw(obj)

        future = beside(deletes)
        until(waits_for_a_lock, pause=0.2)
    if task is tasks.protects:
        with pytest.raises(IntegrityError, match="cannot be deleted"):
            future.result(timeout=30)
        assert state(operation) == State.QUEUED
    else:
        future.result(timeout=30)
        assert state(operation) == State.CANCELLED


@two_writers
@pytest.mark.parametrize("commits", [True, False])
def test_an_enqueue_that_waited_for_a_guarded_delete_finds_no_object(obj, commits):
    if isinstance(obj, Chapter) and connection.vendor == "mysql":
        pytest.skip("it need not wait: the page stays")
    with transaction.atomic():
        raw(obj)
        future = beside(lambda: tasks.protects.enqueue(obj))
        until(waits_for_a_lock, pause=0.2)
        transaction.set_rollback(not commits)
    if commits and not isinstance(obj, Chapter):
        with pytest.raises(ObjectGone):
            future.result(timeout=30)
        assert not Operation.objects.exists()
    else:
        # Also where only the row of the child went: the page is still there.
        assert state(future.result(timeout=30)) == State.QUEUED


@two_writers
def test_the_guard_follows_a_delete_whose_statement_reads_other_tables(guarded):
    chapter = Chapter.objects.create(title="c")
    operation = tasks.cancelled_with.enqueue(chapter)
    found = Chapter.objects.filter(title="c")
    found._raw_delete(found.db)
    assert state(operation) == State.CANCELLED


def test_a_guard_is_taken_away_by_a_migration_that_goes_forwards(guarded):
    sheet = Sheet.objects.create()
    tasks.protects.enqueue(sheet)
    unguard = UnguardDeletes("Sheet")
    migrate(unguard)
    with transaction.atomic():
        raw(sheet)
        transaction.set_rollback(True)
    migrate(unguard, backwards=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        raw(sheet)
    assert unguard.migration_name_fragment == "unguard_deletes_sheet"
    assert unguard.deconstruct() == ("UnguardDeletes", [], {"name": "Sheet"})
    Operation.objects.cancel()
