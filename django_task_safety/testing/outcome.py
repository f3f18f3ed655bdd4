"""What a run has left behind, and what two of them differ in."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from django_task_safety.testing import effects, tables
from django_task_safety.testing.effects import Effect


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What is there after a run."""

    rows: tables.Snapshot
    #: Files, and what is cached, by name.
    kept: dict[str, Any]
    effects: list[Effect]
    #: How the work ended, as it is known itself.
    ending: str


@dataclasses.dataclass(frozen=True)
class Mask:
    """What two clean runs differ in: clocks, sequences and random values."""

    columns: frozenset[tuple[str, str | None]]
    #: Tables whose keys vary.
    keys: frozenset[str]
    kept: frozenset[str]
    calls: bool

    def __iter__(self) -> Iterator[str]:
        yield from sorted(f"{table}.{column}" for table, column in self.columns)
        yield from sorted(f"the keys of {table}" for table in self.keys)
        yield from sorted(self.kept)
        if self.calls:
            yield "the numbers in calls, mails and messages"


def mask_of(first: Outcome, second: Outcome) -> Mask:
    """Return what two clean runs differ in."""
    keys = {table for table in first.rows if first.rows[table].keys() != second.rows.get(table, {}).keys()}
    one, other = _by_place(first.rows, keys), _by_place(second.rows, keys)
    columns = {
        (table, column)
        for table, rows in one.items()
        for key, row in rows.items()
        for column, value in row.items()
        if other.get(table, {}).get(key, {}).get(column) != value
    }
    names = first.kept.keys() | second.kept.keys()
    kept = {name for name in names if first.kept.get(name) != second.kept.get(name)}
    called = effects.calls(first.effects) != effects.calls(second.effects)
    return Mask(frozenset(columns), frozenset(keys), frozenset(kept), called)


def differences(expected: Outcome, actual: Outcome, mask: Mask) -> Iterator[str]:
    """Say what a run has left behind that a clean one does not, and the other way round."""
    if expected.ending != actual.ending:
        yield f"it ends with {actual.ending!r} instead of {expected.ending!r}"
    before, after = (_without(_by_place(one.rows, mask.keys, mask.columns), mask.columns) for one in (expected, actual))
    yield from tables.differences(before, after)
    calls, made = effects.calls(expected.effects), effects.calls(actual.effects)
    if mask.calls:
        calls, made = effects.without_what_varies(calls), effects.without_what_varies(made)
    yield from effects.changed(calls, made)
    for name in sorted((expected.kept.keys() | actual.kept.keys()) - mask.kept):
        if expected.kept.get(name) != actual.kept.get(name):
            yield f"~ {name}: {expected.kept.get(name)!r} -> {actual.kept.get(name)!r}"


def _by_place(rows: tables.Snapshot, varying: Iterable[str], columns: tables.Columns = ()) -> tables.Snapshot:
    """Return the rows with their places instead of keys that vary."""
    found = dict(rows)
    for table in varying:
        plain = [{c: v for c, v in row.items() if (table, c) not in columns} for row in rows.get(table, {}).values()]
        order = sorted(range(len(plain)), key=lambda place: repr(plain[place]))
        values = list(rows.get(table, {}).values())
        found[table] = {(number,): values[place] for number, place in enumerate(order)}
    return found


def _without(rows: tables.Snapshot, columns: tables.Columns) -> tables.Snapshot:
    return {
        table: {key: {c: v for c, v in row.items() if (table, c) not in columns} for key, row in found.items()}
        for table, found in rows.items()
    }
