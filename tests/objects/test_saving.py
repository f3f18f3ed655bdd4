"""save() writes only what changed."""

import copy
from datetime import datetime, time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage
from django.db import connection
from django.db.models import F
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext

from django_task_safety.objects.snapshot import frozen, same
from tests.notesapp.drafts import draft, write
from tests.notesapp.models import Draft, LongDraft, Note, PlainDraft, PlainLongDraft
from tests.notesapp.ways import fresh
from tests.support.ids import label

pytestmark = pytest.mark.django_db


def updates(queries: CaptureQueriesContext) -> list[str]:
    return [query["sql"] for query in queries if query["sql"].startswith("UPDATE")]


def test_a_save_does_not_revert_what_others_wrote():
    mine = fresh(draft(text="old"))
    write(mine, text="theirs")
    mine.title = "mine"
    mine.save()
    assert (fresh(mine).title, fresh(mine).text) == ("mine", "theirs")


@pytest.mark.django_db(transaction=True)
def test_a_created_instance_writes_only_what_changed_since():
    mine = draft(text="old")
    write(mine, text="theirs")
    mine.title = "mine"
    mine.save()
    assert fresh(mine).text == "theirs"


@pytest.mark.django_db(transaction=True)
def test_a_second_save_starts_from_what_the_first_one_wrote():
    mine = fresh(draft())
    mine.title = "mine"
    mine.save()
    write(mine, title="theirs")
    mine.copies = 3
    mine.save()
    assert (fresh(mine).title, fresh(mine).copies) == ("theirs", 3)


def test_a_value_that_is_put_back_is_written_back():
    mine = fresh(draft())
    for title in ("b", "a"):
        mine.title = title
        mine.save()
    assert fresh(mine).title == "a"


def test_auto_now_is_written_though_nothing_else_changed():
    mine = fresh(draft())
    before = mine.changed
    mine.save()
    assert fresh(mine).changed > before


def test_signals_hear_of_a_plain_save():
    heard = []

    def hear(update_fields: Any, **kwargs: Any) -> None:
        heard.append(update_fields)

    mine = fresh(draft())
    for signal in (pre_save, post_save):
        signal.connect(hear, sender=Draft)
    try:
        mine.title = "mine"
        mine.save()
    finally:
        for signal in (pre_save, post_save):
            signal.disconnect(hear, sender=Draft)
    assert heard == [None, None]


def test_what_a_receiver_of_pre_save_writes_is_known():
    def save_first(instance: Draft, update_fields: Any, **kwargs: Any) -> None:
        if update_fields is None:
            instance.title = "b"
            instance.save(update_fields=["title"])
            instance.title = "a"

    mine = fresh(draft())
    pre_save.connect(save_first, sender=Draft)
    try:
        mine.save()
    finally:
        pre_save.disconnect(save_first, sender=Draft)
    assert fresh(mine).title == "a"


def test_what_a_receiver_of_post_save_changes_is_written_by_the_next_save():
    def change(instance: Draft, **kwargs: Any) -> None:
        instance.copies = 7

    mine = fresh(draft())
    post_save.connect(change, sender=Draft)
    try:
        mine.title = "mine"
        mine.save()
    finally:
        post_save.disconnect(change, sender=Draft)
    mine.save()
    assert fresh(mine).copies == 7


def save_again(instance: Draft) -> None:
    instance.text = "theirs"
    instance.save()


def update_and_refresh(instance: Draft) -> None:
    Draft.objects.update(text="theirs")
    instance.refresh_from_db()


@pytest.mark.parametrize("model", [Draft, LongDraft])
@pytest.mark.parametrize("act", [save_again, update_and_refresh])
def test_what_a_receiver_of_post_save_writes_is_known(act, model):
    def receive(instance: Draft, created: bool, **kwargs: Any) -> None:
        if created:
            act(instance)

    post_save.connect(receive, sender=model)
    try:
        mine = model.objects.create(title="a", text="mine")
    finally:
        post_save.disconnect(receive, sender=model)
    assert fresh(mine).text == "theirs"
    mine.text = "mine"
    mine.save()
    assert fresh(mine).text == "mine"


def test_what_a_receiver_of_post_save_makes_of_an_expression_is_written_by_the_next_save():
    def change(instance: Draft, **kwargs: Any) -> None:
        instance.copies = 7

    mine = draft()
    mine.copies = F("copies") + 1
    post_save.connect(change, sender=Draft)
    try:
        mine.save()
    finally:
        post_save.disconnect(change, sender=Draft)
    mine.save()
    assert fresh(mine).copies == 7


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"n": 1}, {"n": True}),
        ({"n": 1}, {"n": 1.0}),
        ([1], [True]),
        ([], {}),
        ("1", 1),
        ({"deep": {"list": [1]}}, {"deep": {"list": [1, 2]}}),
    ],
    ids=label,
)
def test_json_that_differs_is_written(before, after):
    mine = fresh(draft(data=before))
    mine.data = after
    mine.save()
    assert repr(fresh(mine).data) == repr(after)


def test_json_that_changes_in_place_is_written():
    mine = fresh(draft(data={"list": [1]}))
    mine.data["list"].append(2)
    mine.save()
    mine.data["list"].append(3)
    mine.save()
    assert fresh(mine).data == {"list": [1, 2, 3]}


def test_json_that_does_not_change_is_left_to_others():
    mine = fresh(draft(data={"list": [1]}))
    write(mine, data={"list": [2]})
    mine.title = "mine"
    mine.save()
    assert fresh(mine).data == {"list": [2]}


def test_binary_data_is_compared():
    mine = fresh(draft(blob=b"old"))
    write(mine, blob=b"theirs")
    mine.title = "mine"
    mine.save()
    assert bytes(fresh(mine).blob) == b"theirs"
    mine.blob = b"mine"
    mine.save()
    assert bytes(fresh(mine).blob) == b"mine"


def test_a_file_is_written_when_it_is_replaced_and_only_then(monkeypatch):
    monkeypatch.setattr(Draft._meta.get_field("file"), "storage", InMemoryStorage())
    mine = fresh(draft())
    mine.file = ContentFile(b"one", name="one.txt")
    mine.save()
    assert fresh(mine).file.name == "one.txt"
    again = fresh(mine)
    assert again.file.name == "one.txt"
    write(mine, file="theirs.txt")
    again.title = "mine"
    again.save()
    assert fresh(mine).file.name == "theirs.txt"
    again.file = ContentFile(b"two", name="two.txt")
    again.save()
    assert fresh(mine).file.name == "two.txt"


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (datetime(2025, 10, 26, 2, 30, tzinfo=BERLIN), datetime(2025, 10, 26, 2, 30, tzinfo=BERLIN, fold=1)),
        (time(2, 30), time(2, 30, fold=1)),
        (0.0, -0.0),
        (1, True),
        (Decimal("1.0"), Decimal("1.00")),
    ],
    ids=label,
)
def test_what_is_equal_and_yet_another_value_is_a_change(then, now):
    assert then == now
    assert not same(now, frozen(then))
    assert same(copy.deepcopy(then), frozen(then))


def past_save(instance: Draft) -> None:
    instance.save_base()


def in_bulk(instance: Draft) -> None:
    Draft.objects.bulk_update([instance], ["title"])


def over_the_row(instance: Draft) -> None:
    fields = {"unique_fields": ["pk"]} if connection.features.supports_update_conflicts_with_target else {}
    Draft.objects.bulk_create([instance], update_conflicts=True, update_fields=["title"], **fields)


@pytest.mark.parametrize("write_it", [past_save, in_bulk, over_the_row], ids=label)
def test_what_was_written_past_save_is_not_taken_for_what_was_loaded(write_it):
    mine = fresh(draft())
    mine.title = "b"
    write_it(mine)
    assert fresh(mine).title == "b"
    mine.title = "a"
    mine.save()
    assert fresh(mine).title == "a"


def test_bulk_update_leaves_the_other_columns_to_others():
    mine = fresh(draft(text="old"))
    mine.title = "b"
    Draft.objects.bulk_update([mine], ["title"])
    write(mine, text="theirs")
    mine.save()
    assert (fresh(mine).title, fresh(mine).text) == ("b", "theirs")


@pytest.mark.parametrize("model", [Draft, LongDraft])
def test_one_that_was_saved_to_another_row_knows_nothing_of_its_other_columns(model):
    there = model.objects.create(title="there", text="there")
    mine = fresh(model.objects.create(title="mine", text="mine"))
    mine.pk = mine.id = there.pk
    mine.save(update_fields=["title"])
    mine.save()
    assert (fresh(there).title, fresh(there).text) == ("mine", "mine")


def test_an_expression_is_written_and_then_left_to_others():
    mine = fresh(draft(copies=1))
    mine.copies = F("copies") + 1
    mine.save()
    mine.refresh_from_db()
    assert mine.copies == 2
    write(mine, copies=9)
    mine.title = "mine"
    mine.save()
    assert fresh(mine).copies == 9


def test_update_fields_are_written_as_they_are_named():
    mine = fresh(draft(text="old"))
    write(mine, text="theirs", title="theirs")
    mine.save(update_fields=["text"])
    assert (fresh(mine).text, fresh(mine).title) == ("old", "theirs")


def test_a_deferred_column_that_was_loaded_later_is_known():
    given = draft(text="old")
    mine = Draft.objects.defer("text").get()
    assert mine.text == "old"
    write(given, text="theirs")
    mine.title = "mine"
    mine.save()
    assert fresh(given).text == "theirs"


def test_refreshing_is_loading():
    mine = fresh(draft())
    write(mine, text="theirs", copies=5)
    mine.text, mine.copies = "mine", 4
    mine.refresh_from_db(fields=["text"])
    write(mine, text="theirs again")
    mine.save()
    assert (fresh(mine).text, fresh(mine).copies) == ("theirs again", 4)


def test_refreshing_from_a_queryset_learns_what_it_read():
    mine = fresh(draft(copies=5))
    mine.copies = 6
    write(mine, copies=6)
    mine.refresh_from_db(from_queryset=Draft.objects.select_for_update())
    mine.copies = 5
    mine.save()
    assert fresh(mine).copies == 5


def test_refreshing_from_a_queryset_that_leaves_columns_out_keeps_changes():
    mine = fresh(draft(text="old"))
    mine.text = "mine"
    mine.refresh_from_db(from_queryset=Draft.objects.only("title"))
    mine.save()
    assert fresh(mine).text == "mine"


def test_a_save_that_changes_nothing_is_one_statement():
    note = fresh(Note.objects.create(title="a"))
    with CaptureQueriesContext(
        connection,
    ) as queries:
        note.save()
    assert len(queries) == 1
    assert updates(queries) == []


def test_a_new_instance_with_several_tables_is_as_many_statements_as_in_django():
    def statements(model: Any, **options: Any) -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            model(title="a", pages=1).save(**options)
        return [query["sql"].split()[0] for query in queries]

    assert statements(LongDraft) == statements(PlainLongDraft) == ["INSERT", "INSERT"]
    assert statements(LongDraft, force_insert=(Draft,)) == statements(PlainLongDraft, force_insert=(PlainDraft,))


def test_update_or_create_works():
    given = draft()
    Draft.objects.update_or_create(pk=given.pk, defaults={"text": "new"})
    assert fresh(given).text == "new"


def test_each_table_gets_what_changed():
    mine = fresh(LongDraft.objects.create(title="a", text="old", pages=1))
    write(mine, text="theirs", pages=9)
    mine.title = "mine"
    mine.save()
    assert (fresh(mine).title, fresh(mine).text, fresh(mine).pages) == ("mine", "theirs", 9)
