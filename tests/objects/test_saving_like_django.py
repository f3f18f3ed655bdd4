"""A random walk: whatever a program does with its instances, the rows are as if Django's ``save()`` had written them.

Each step is done twice, with a plain model and with one that has the mixin. What one instance writes, others of the
same row have not seen: they save only after they have been refreshed, for until then the two are not meant to agree.
"""

import copy
import pickle
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, models, transaction
from django.db.models import F

from tests.notesapp.models import Draft, LongDraft, PlainDraft, PlainLongDraft

ALIASES = [DEFAULT_DB_ALIAS, "other"]
COLUMNS = {"title": ["a", "b"], "copies": [0, 1]}
#: Django 6.1 gives it another name.
savepoint_create = getattr(transaction, "savepoint_create", None) or transaction.savepoint
Pair = tuple[type[models.Model], type[models.Model]]


class Undo(Exception):
    """Rolls a block back."""


class Twins:
    """An instance of each model, to which the same is done."""

    def __init__(self, instances: list[Any]) -> None:
        self.instances = instances
        #: Whether they have seen what others wrote to the row.
        self.current = True
        #: Whether they have inserted the row, so that they may insert it again where that was rolled back.
        self.inserted = False

    @property
    def row(self) -> tuple[str | None, Any]:
        return self.instances[0]._state.db, self.instances[0].pk

    @property
    def deferred(self) -> bool:
        return any(instance.get_deferred_fields() for instance in self.instances)

    def both(self, act: Callable[[Any], Any]) -> list[Any]:
        return [act(instance) for instance in self.instances]


class Walk:
    """A program that does something at random."""

    def __init__(self, pair: Pair, seed: int) -> None:
        self.pair, self.random = pair, random.Random(seed)
        self.twins: list[Twins] = []
        self.next_pk = 1
        #: Whether a savepoint is open that Django's on_commit() does not know.
        self.by_hand = False
        self.log: list[str] = []
        self.compared = 0

    def run(self, steps: int) -> int:
        """Take the steps; return after how many of them, those inside blocks included, the rows were compared."""
        for number in range(steps):
            if number % 15 == 0:
                # Few instances of few rows, so that much happens to each.
                self.twins.clear()
                self.create()
            self.step()
        return self.compared

    def step(self) -> None:
        depth = len(connections[DEFAULT_DB_ALIAS].savepoint_ids)
        choices = (
            [self.assign] * 4 + [self.save] * 8 + [self.refresh, self.update, self.bulk_update, self.save_base] * 2
        )
        choices += [self.create, self.load, self.copy_row, self.count, self.hook] + [self.copy, self.move] * 3
        if depth < 3:
            choices += [self.block] * 5 + [self.savepoint] * (2 if transaction.get_connection().in_atomic_block else 0)
        if not self.pair[0]._meta.parents:
            choices.append(self.bulk_create)
        chosen = self.random.choice(choices)
        self.log.append(f"{chr(32) * 2 * depth}{chosen.__name__}")
        chosen()
        self.compare()

    def compare(self) -> None:
        names = ["pk", *COLUMNS, *(["pages"] if self.pair[0]._meta.parents else [])]
        for alias in ALIASES:
            plain, ours = (list(model.objects.using(alias).order_by("pk").values_list(*names)) for model in self.pair)
            assert plain == ours, "\n".join([f"{alias}: {plain} != {ours}", *self.log])
        self.compared += 1

    def exists(self, row: tuple[str | None, Any]) -> bool:
        return self.pair[0].objects.using(row[0]).filter(pk=row[1]).exists()

    def some(self) -> Twins | None:
        found = [twins for twins in self.twins if twins.inserted or self.exists(twins.row)][-2:]
        for twins in self.twins:
            # A callback may still have the others.
            twins.current &= twins in found
        self.twins = found
        return self.random.choice(self.twins) if self.twins else None

    def current(self) -> Twins | None:
        """Return some that have seen what others wrote."""
        twins = self.some()
        if twins and not twins.current and self.exists(twins.row):
            twins.both(lambda one: one.refresh_from_db())
            twins.current = True
        return twins if twins and twins.current else None

    def wrote(self, row: tuple[str | None, Any], writer: Twins | None = None) -> None:
        for twins in self.twins:
            if twins is not writer and twins.row == row:
                twins.current = False

    def values(self) -> dict[str, Any]:
        return {name: self.random.choice(found) for name, found in COLUMNS.items()}

    def new_pk(self) -> int:
        self.next_pk += 1
        return self.next_pk

    def write(self, twins: Twins, act: Callable[[Any], Any]) -> None:
        """Have both write, or be refused for the same reason."""
        refused = []
        row = twins.row
        for instance in twins.instances:
            try:
                with transaction.atomic():
                    act(instance)
                refused.append(False)
            except DatabaseError:
                refused.append(True)
        assert len(set(refused)) == 1, "\n".join([str(refused), *self.log])
        self.wrote(row, twins)
        self.wrote(twins.row, twins)

    def plainly(self, twins: Twins, act: Callable[[Any], Any]) -> None:
        """Have both write without a block of our own."""
        twins.both(act)
        self.wrote(twins.row, twins)

    # What a program does.

    def create(self) -> None:
        if self.by_hand:
            return
        values = {"pk": self.new_pk(), **self.values()}
        twins = Twins([model(**values) for model in self.pair])
        twins.inserted = True
        if self.random.random() < 0.5:
            twins.both(lambda one: one.save())
        else:
            twins.both(lambda one: one.save(force_insert=True))
        self.twins.append(twins)

    def bulk_create(self) -> None:
        if self.by_hand:
            return
        values = {"pk": self.new_pk(), **self.values()}
        twins = Twins([model.objects.bulk_create([model(**values)])[0] for model in self.pair])
        twins.inserted = True
        self.twins.append(twins)

    def load(self) -> None:
        if (twins := self.some()) and self.exists(twins.row):
            how = self.random.choice([lambda q: q, lambda q: q.only("title"), lambda q: q.defer("text")])
            alias, pk = twins.row
            self.twins.append(Twins([how(model.objects.using(alias)).get(pk=pk) for model in self.pair]))

    def copy(self) -> None:
        if twins := self.some():
            how = self.random.choice([copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
            new = Twins(twins.both(how))
            new.current = twins.current
            new.inserted = twins.inserted and how in (copy.copy, copy.deepcopy)
            self.twins.append(new)

    def copy_row(self) -> None:
        twins = self.current()
        if twins and not self.by_hand and not twins.deferred:
            pk, anew = self.new_pk(), self.random.random() < 0.5

            def act(one: Any) -> None:
                if anew:
                    one._state.adding = True
                one.pk = pk
                if hasattr(one, "pages"):
                    one.id = pk
                one.save()

            self.plainly(twins, act)
            twins.inserted = True

    def assign(self) -> None:
        if twins := self.some():
            self.assign_some(twins)

    def assign_some(self, twins: Twins) -> None:
        for name, values in COLUMNS.items():
            if self.random.random() < 0.5:
                value = self.random.choice(values)
                twins.both(lambda one, name=name, value=value: setattr(one, name, value))  # type: ignore[misc]

    def count(self) -> None:
        if twins := self.current():
            twins.both(lambda one: setattr(one, "copies", F("copies") + 1))
            if self.exists(twins.row):
                self.plainly(twins, lambda one: one.save())
            twins.both(lambda one: setattr(one, "copies", 0))

    def save(self) -> None:
        twins = self.current()
        if twins and (self.exists(twins.row) or not self.by_hand):
            self.assign_some(twins)
            names = self.random.sample(list(COLUMNS), 1)
            options: Any = self.random.choice([{}, {}, {"update_fields": names}, {"force_update": True}])
            self.log[-1] += f" {twins.row} {options}"
            if options:
                self.write(twins, lambda one: one.save(**options))
            else:
                self.plainly(twins, lambda one: one.save())

    def save_base(self) -> None:
        if (twins := self.current()) and self.exists(twins.row):
            self.assign_some(twins)
            self.plainly(twins, lambda one: one.save_base(raw=not one._meta.parents))

    def move(self) -> None:
        twins = self.current()
        if not twins or self.by_hand or twins.deferred:
            return
        alias, row = self.random.choice(ALIASES), twins.row
        there = self.exists((alias, row[1]))
        names = ["title"] if there and self.random.random() < 0.5 else None
        twins.both(lambda one: one.save(using=alias, update_fields=names))
        if alias != row[0] or not there:
            twins.inserted = not there
        self.wrote(twins.row, twins)

    def refresh(self) -> None:
        if (twins := self.some()) and self.exists(twins.row):
            model_fields = self.random.choice([None, None, ["title"]])
            twins.both(lambda one: one.refresh_from_db(fields=model_fields))
            twins.current |= model_fields is None and not twins.deferred

    def update(self) -> None:
        if twins := self.some():
            alias, pk = twins.row
            value = self.random.choice(COLUMNS["title"])
            for model in self.pair:
                model.objects.using(alias).filter(pk=pk).update(title=value)
            self.wrote(twins.row)

    def bulk_update(self) -> None:
        if twins := self.current():
            self.assign_some(twins)
            alias, names = twins.row[0], self.random.sample(list(COLUMNS), self.random.randint(1, 2))
            for instance in twins.instances:
                type(instance).objects.using(alias).bulk_update([instance], names)
            self.wrote(twins.row, twins)

    def hook(self) -> None:
        if (twins := self.some()) and not self.by_hand:
            values = self.values()

            def save() -> None:
                if twins.current and (twins.inserted or self.exists(twins.row)):
                    for name, value in values.items():
                        twins.both(lambda one, name=name, value=value: setattr(one, name, value))
                    self.plainly(twins, lambda one: one.save())

            transaction.on_commit(save)

    def block(self) -> None:
        with suppress(Undo), transaction.atomic():
            for _ in range(self.random.randint(1, 6)):
                self.step()
            if self.random.random() < 0.5:
                self.log.append("undo")
                raise Undo

    def savepoint(self) -> None:
        before, self.by_hand = self.by_hand, True
        savepoint = savepoint_create()
        for _ in range(self.random.randint(1, 4)):
            self.step()
        if self.random.random() < 0.5:
            self.log.append("undo by hand")
            transaction.savepoint_rollback(savepoint)
        self.by_hand = before


pairs = pytest.mark.parametrize("pair", [(PlainDraft, Draft), (PlainLongDraft, LongDraft)], ids=["one table", "two"])
seeds = pytest.mark.parametrize("seed", range(6))


@pairs
@seeds
@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_rows_are_as_django_writes_them(pair: Pair, seed: int) -> None:
    assert Walk(pair, seed).run(250) >= 250


@pairs
@seeds
@pytest.mark.django_db(databases=ALIASES)
def test_rows_are_as_django_writes_them_in_a_test_case(pair: Pair, seed: int) -> None:
    assert Walk(pair, seed).run(250) >= 250
