"""What a run has left behind, and what two of them differ in."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from django_task_safety.testing import effects, tables, varying
from django_task_safety.testing.effects import Effect
from django_task_safety.testing.tables import Row
from django_task_safety.testing.varying import Variants


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What is there after a run."""

    #: Of tables; files and what is cached are rows as well.
    rows: tables.Snapshot
    effects: list[Effect]
    #: How the work ended, as it is known itself.
    ending: str
    #: Files of which the attempt that died alone knows.
    left: frozenset[str] = frozenset()


class Mask:
    """What runs differ in that are right: single values, and the keys of rows that they have added.

    Args:
        expected: A clean run.
        second: Another one.
        third: One more.
        retried: What a second attempt has left of which the first did nothing: it has another number, no more.
    """

    def __init__(
        self, expected: Outcome, second: Outcome, third: Outcome | None = None, retried: Outcome | None = None
    ) -> None:
        self._keys = {
            table: rows.keys() & second.rows[table].keys()
            for table, rows in expected.rows.items()
            if table in second.rows
        }
        #: Folders in which files get another name each time; elsewhere what has one is to be renamed, or removed.
        kept, others = (outcome.rows.get("file", {}) for outcome in (expected, second))
        self._folders = {Path(path).parent for (path,) in kept.keys() - others.keys()}
        #: By table, key and column; the key is None for added rows.
        self._values: defaultdict[tuple[str, Any, str | None], Variants] = defaultdict(Variants)
        self._calls: defaultdict[str, Variants] = defaultdict(Variants)
        self._same = set(effects.calls(expected.effects))
        for run in filter(None, (second, third, retried)):
            accepts = varying.is_of_next_attempt if run is retried else _differ
            for table in expected.rows:
                self._note_rows(table, expected.rows[table], run.rows.get(table, {}), accepts)
            self._note_calls(effects.calls(expected.effects), effects.calls(run.effects), accepts)

    def __iter__(self) -> Iterator[str]:
        yield from sorted(
            {f"{table}.{column}" for (table, _, column), variants in self._values.items() if any(variants)}
        )
        yield from sorted(f"{kind}: {pattern}" for kind, variants in self._calls.items() for pattern in variants)

    def kept(self, outcome: Outcome) -> tables.Snapshot:
        """Return the rows that are known by their keys, with patterns in place of what varies."""
        return {
            table: {key: self._masked(table, key, row) for key, row in rows.items() if key in self._keys.get(table, ())}
            for table, rows in outcome.rows.items()
        }

    def added(self, outcome: Outcome) -> Counter[tuple[str, str]]:
        """Return the other rows, as text, and how often each is there."""
        return Counter(
            (table, tables.text(self._masked(table, None, row)))
            for table, rows in outcome.rows.items()
            for row in self._added(table, rows)
            if not (table == "file" and self._is_left_over(row["name"], outcome))
        )

    def calls(self, outcome: Outcome) -> Counter[Effect]:
        """Return the calls, with patterns in place of what varies, and how often each was made."""
        found: Counter[Effect] = Counter()
        for call, count in effects.calls(outcome.effects).items():
            found[call if call in self._same else Effect(call.kind, str(self._calls[call.kind].of(call.text)))] += count
        return found

    def _is_left_over(self, path: str, outcome: Outcome) -> bool:
        return path in outcome.left and self._folders.isdisjoint(Path(path).parents)

    def _note_rows(
        self,
        table: str,
        ones: dict[tuple[Any, ...], Row],
        others: dict[tuple[Any, ...], Row],
        accepts: Callable[[Any, Any], bool],
    ) -> None:
        by_key = [(key, ones[key], others[key]) for key in self._keys.get(table, ()) if key in ones and key in others]
        added = varying.pairs(self._added(table, ones), self._added(table, others), _columns_alike)
        for key, one, other in [*by_key, *((None, *pair) for pair in added)]:
            for column, value in one.items():
                if accepts(value, other.get(column)):
                    self._values[table, key, column].add(value, other.get(column))

    def _note_calls(self, ones: Counter[Effect], others: Counter[Effect], accepts: Callable[[Any, Any], bool]) -> None:
        for kind in {call.kind for call in ones}:
            first, second = (
                [call.text for call in found.elements() if call.kind == kind]
                for found in (ones - others, others - ones)
            )
            for one, other in varying.pairs(first, second, varying.resemblance):
                if accepts(one, other):
                    self._calls[kind].add(one, other)
                    self._same.discard(Effect(kind, one))

    def _added(self, table: str, rows: dict[tuple[Any, ...], Row]) -> Sequence[Row]:
        return [row for key, row in rows.items() if key not in self._keys.get(table, ())]

    def _masked(self, table: str, key: Any, row: Row) -> Row:
        return {column: self._values[table, key, column].of(value) for column, value in row.items()}


def differences(expected: Outcome, actual: Outcome, mask: Mask) -> Iterator[str]:
    """Say what a run has left behind that a clean one does not, and the other way round."""
    if expected.ending != actual.ending:
        yield f"it ends with {actual.ending!r} instead of {expected.ending!r}"
    yield from tables.differences(mask.kept(expected), mask.kept(actual))
    before, after = mask.added(expected), mask.added(actual)
    yield from (f"- {table}: {row}" for table, row in (before - after).elements())
    yield from (f"+ {table}: {row}" for table, row in (after - before).elements())
    yield from effects.changed(mask.calls(expected), mask.calls(actual))
    if not any(effects.contradictions(expected.effects)):
        yield from effects.contradictions(actual.effects)


def _differ(one: Any, other: Any) -> bool:
    return bool(one != other)


def _texts(kind: str, calls: Counter[Effect]) -> list[str]:
    return [call.text for call in calls.elements() if call.kind == kind]


def _columns_alike(one: Row, other: Row) -> int:
    return sum(other.get(column) == value for column, value in one.items())
