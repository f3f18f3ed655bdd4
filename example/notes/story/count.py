"""The outcome, counted by SQL from the shop's database and the bank's."""

import json
from collections.abc import Iterable, Mapping
from contextlib import contextmanager

from django.db import connection

from django_task_safety.models import SoftDeleteModel
from notes import bank
from notes.models import NoteFields
from notes.orders import Row
from notes.story.cast import COPIES, LONG, Cast

#: For each order: how often the bank was paid, how often that is in the ledger, and what the order says.
_ORDERS = """
    select o.number, o.user_id, o.status, o.amount, o.charged,
           (select count(*) from bank.payment p where p.number = o.number) as paid,
           (select count(*) from notes_charge c where c.order_id = o.id) as booked
    from notes_order o
"""
#: For each note that was worked with: whether users see it, how many parts it says it has, how many copies (or parts)
#: there are, those with another text than its own, and its operations: all, and those that its delete did not cancel.
_NOTES = """
    select n.id is not null{live} as there, n.parts,
           (select count(*) from {table} c where c.copy_of_id = wanted.value) as copies,
           (select count(*) from {table} c where c.copy_of_id = n.id and c.text <> n.text) as stale,
           (select count(*) from {operations}) as operations,
           (select count(*) from {operations} and not (o.state = 'cancelled' and o.error like '%% was deleted')) as left
    from json_each(%s) wanted left join {table} n on n.id = wanted.value
"""
_OPERATIONS = """
    django_task_safety_operation o where o.subject_label = 'notes.note' and o.subject_id = cast(wanted.value as text)
"""
#: For each user: the points, and those that the confirmed orders are worth.
_SCORES = """
    select s.points, (select coalesce(sum(o.amount), 0) from notes_order o
                      where o.user_id = s.user_id and o.status = 'confirmed') as earned
    from notes_score s
"""
_PAID_ONCE = {
    "never charged": "paid = 0",
    "charged twice": "paid > 1",
    "booked wrongly": "paid = 1 and (booked <> 1 or charged <> amount)",
}
_GONE = {"copies of nothing": "copies", "not cancelled by the delete": "left", "there again": "there"}
_PUBLISHED = {"never published": "copies = 0", "deleted": "not there"}
_ARCHIVED = {"never archived": "copies = 0", "not deleted": "there"}
_IMPORTED = {"counted wrongly": "parts <> copies", "not imported": "copies = 0", "let in twice": "operations > 1"}
Tally = dict[str, int]


@contextmanager
def _bank():
    """The bank's database beside ours, on one connection."""
    with connection.cursor() as cursor:
        cursor.execute("attach database %s as bank", [str(bank.path())])
        try:
            yield cursor
        finally:
            cursor.execute("detach database bank")


def _how_many(cursor, source: str, parameters: list, wrong: Mapping[str, str]) -> Tally:
    columns = ", ".join(f"coalesce(sum({condition}), 0)" for condition in wrong.values())
    cursor.execute(f"select {columns} from ({source})", parameters)
    return dict(zip(wrong, cursor.fetchone(), strict=True))


def _orders(cursor, rows: Iterable[Row], wrong: Mapping[str, str]) -> Tally:
    chosen = json.dumps([row.number for row in rows])
    return _how_many(cursor, f"{_ORDERS} where o.number in (select value from json_each(%s))", [chosen], wrong)


def _notes(cursor, notes: list[NoteFields], wrong: Mapping[str, str]) -> Tally:
    model = type(notes[0])
    live = " and not n.is_removed" if issubclass(model, SoftDeleteModel) else ""
    source = _NOTES.format(table=model._meta.db_table, live=live, operations=_OPERATIONS)
    return _how_many(cursor, source, [json.dumps([note.pk for note in notes])], wrong)


def _copied(times: int) -> dict[str, str]:
    part = f"copies between 1 and {times - 1}"
    return {"not copied": "copies = 0", "copied in part": part, "copied too often": f"copies > {times}"}


def tallies(cast: Cast) -> dict[str, Tally]:
    """Return for each trouble what went wrong, and how often."""
    short, long = _copied(COPIES), _copied(LONG)
    undone = {"still confirmed": "status = 'confirmed'", "charged": "paid > 0"}
    with _bank() as cursor:
        once = {
            name: _orders(cursor, getattr(cast, name), _PAID_ONCE)
            for name in ("usual", "twice", "clicks", "killed", "outage", "busy", "unanswered")
        }
        return {
            **once,
            "torn": _notes(cursor, cast.long_notes, long),
            "cancelled": _orders(cursor, cast.cancelled, {"charged all the same": "paid > 0 or booked > 0"}),
            "edited": _notes(cursor, cast.edited_notes, {"copied as it was": "stale > 0", **short}),
            "deleted": _notes(cursor, cast.deleted_notes, _GONE),
            "published": _notes(cursor, cast.published_notes, _PUBLISHED),
            "archived": _notes(cursor, cast.archived_notes, _ARCHIVED),
            "proofread": _notes(cursor, cast.proofread_notes, {"there again": "there"}),
            "imported": _notes(cursor, cast.imported_notes, _IMPORTED),
            "declined": _orders(cursor, cast.declined, undone),
            "notes": _notes(cursor, cast.quiet_notes, short),
            "scores": _how_many(cursor, _SCORES, [], {"wrong": "points <> earned"}),
            "pending": _pending(cursor),
        }


def _pending(cursor) -> Tally:
    """What nobody will ever finish: confirmed orders without a payment, and operations without an outcome."""
    orders = _how_many(cursor, _ORDERS, [], {"orders": "status = 'confirmed' and paid = 0"})
    cursor.execute("select count(*) from django_task_safety_operation where state in ('queued', 'running')")
    return {**orders, "operations": cursor.fetchone()[0]}


def payments(rows: Iterable[Row] | None = None) -> int:
    """Return how many payments the bank has made, of these orders or of all."""
    with _bank() as cursor:
        chosen = json.dumps([row.number for row in rows]) if rows is not None else None
        condition = " where number in (select value from json_each(%s))" if chosen else ""
        cursor.execute(f"select count(*) from bank.payment{condition}", [chosen] if chosen else [])
        return cursor.fetchone()[0]


def done(notes: type[NoteFields]) -> int:
    """Return how many orders are paid, and notes copied."""
    with _bank() as cursor:
        cursor.execute("select count(distinct number) from bank.payment")
        return cursor.fetchone()[0] + notes.objects.filter(copy_of_id__isnull=False).count()
