"""Random histories of objects and their operations, found and shortened by Hypothesis, on whichever database.

After every step all rows, effects and objects are compared with a model of them (`object_model`), and with what holds
in every state. Ordinary runs repeat the same histories; with ``TASK_SAFETY_EXAMPLES=2000`` in the environment, as many
new and longer ones are tried. A failed one is printed as the program that leads to it.
"""

import itertools
import logging
import os
from collections import Counter
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from celery.exceptions import Ignore
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test

from django_task_safety import KEEP
from django_task_safety.ledger import schedule
from django_task_safety.models import Operation
from django_task_safety.objects import conflicts
from django_task_safety.values.identity import Identity
from django_task_safety.values.keys import slot
from django_task_safety.worker import sweeper
from tests.stateful.object_model import LEASE, Job, State
from tests.stateful.object_rules import KINDS, ObjectRules, which
from tests.testapp import counted_tasks
from tests.testapp.models import Effect

EXAMPLES = int(os.environ.get("TASK_SAFETY_EXAMPLES", 0))

ending = st.sampled_from(["ok", "ok", "fail", "retry", "delete"])
#: What happens between an attempt's claim and its body.
MEANWHILE = ["nothing", "a copy", "an early sweep", "a late sweep", "a successor", *["a running successor"] * 2]


class Attempt:
    """One that claimed, and was not heard of again yet."""

    def __init__(self, job: Job, message: Any, worker: str) -> None:
        self.job, self.message, self.worker = job, message, worker
        self.operation: Operation | None = None


class Objects(ObjectRules):
    """What workers, messages and time do."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[Attempt] = []
        self.numbers = itertools.count()
        counted_tasks.endings[:] = ["ok"]

    # Workers and messages.

    @precondition(lambda self: self.inbox)
    @rule(at=which, ending=ending, how=st.sampled_from(["one", "one", "all", "lost"]))
    def deliver(self, at: int, ending: str, how: str) -> None:
        """Messages that nobody took yet reach a worker, or nobody."""
        chosen = self.inbox[:] if how == "all" else [self.inbox[at % len(self.inbox)]]
        self.inbox = [message for message in self.inbox if message not in chosen]
        for message in chosen if how != "lost" else []:
            self.attempt(message, ending)

    @precondition(lambda self: self.sent)
    @rule(at=st.integers(0, 20), ending=ending)
    def deliver_again(self, at: int, ending: str) -> None:
        """A duplicate of any message that there ever was."""
        self.attempt(self.sent[-1 - at % len(self.sent)], ending)

    def attempt(self, message: Any, ending: str) -> None:
        counted_tasks.endings[:] = [ending]
        job = self.of(message)
        self.worker.deliver(message)
        if self.model.claimable(job):
            self.model.claim(job, None)
            self.model.ran(job, ending)
        self.collect()

    @precondition(lambda self: self.startable())
    @rule(at=which)
    def claim(self, at: int) -> None:
        """A worker that claims, and is not heard of any more, unless it comes back."""
        messages = self.startable()
        self.vanish(messages[-1 - at % len(messages)])

    def vanish(self, message: Any) -> None:
        attempt = Attempt(self.of(message), message, f"worker {next(self.numbers)}")

        def run(task: Any, operation: Operation, arguments: Any) -> None:
            attempt.operation = operation
            raise Ignore("vanished")

        with (
            mock.patch("django_task_safety.ledger.worker_id.me", return_value=attempt.worker),
            mock.patch("django_task_safety.worker.delivery.run_attempt", run),
        ):
            self.worker.deliver(message)
        claimed = self.model.claimable(attempt.job)
        assert (attempt.operation is not None) == claimed
        if claimed:
            self.model.claim(attempt.job, attempt)
            self.attempts.append(attempt)
        self.collect()

    def startable(self) -> list[Any]:
        """Return messages that somebody may claim for, one for each job."""
        wanted = {str(job.pk) for job in self.model.jobs if self.model.claimable(job)}
        ids = {message.headers["id"]: message for message in self.sent}
        return [message for id, message in ids.items() if id in wanted]

    @precondition(lambda self: self.attempts or self.startable())
    @rule(
        at=which,
        ending=ending,
        meanwhile=st.sampled_from(MEANWHILE),
        renews=st.sampled_from([False, False, False, True]),
    )
    def resume(self, at: int, ending: str, meanwhile: str, renews: bool) -> None:
        """A worker renews its lease, or goes on with the body and to the end; be its lease over or not."""
        if not self.attempts:
            self.claim(at=at)
        attempt = self.attempts[-1 - at % len(self.attempts)]
        late = meanwhile in ("a late sweep", "a successor", "a running successor")
        self.pass_time(seconds=45 if late else 0, sweeps=meanwhile in ("an early sweep", "a late sweep"))
        if meanwhile in ("a copy", "a successor"):
            self.attempt(attempt.message, "ok")
        if meanwhile == "a running successor":
            self.vanish(attempt.message)
        owns = self.model.owns(attempt.job, attempt)
        if renews:
            assert schedule.renew([attempt.job.pk], attempt.worker, LEASE) == owns
            if owns:
                self.model.renew(attempt.job)
            return
        self.attempts.remove(attempt)
        counted_tasks.endings[:] = [ending]
        with mock.patch("django_task_safety.worker.delivery._claim", return_value=attempt.operation):
            self.worker.deliver(attempt.message)
        if owns:
            self.model.ran(attempt.job, ending)
        self.collect()

    # Time.

    #: Each is far from any moment that counts: real time passes, too.
    @rule(seconds=st.sampled_from([0, 45, 45, 45, 8000]), sweeps=st.booleans())
    def pass_time(self, seconds: int, sweeps: bool) -> None:
        self.worker.pass_time(seconds)
        self.model.now += seconds
        if sweeps:
            sweeper.sweep()
            self.model.sweep()
        self.collect()

    # What always holds.

    @invariant()
    def what_is_promised_holds(self) -> None:
        rows = list(Operation.all_rows.all())
        self.rows_are_those_of_the_model({row.pk: row for row in rows})
        for row in rows:
            consistent(row)
        locks = [(row.subject_label, row.subject_id, row.lock) for row in rows if row.is_pending and row.lock]
        assert len(set(locks)) == len(locks), "two operations hold one lock"
        live = {thing.name for thing in self.model.live()}
        for row in rows:
            if row.is_pending and row.on_delete != KEEP and row.task != conflicts.LOCK:
                assert f"{row.subject_label} {row.subject_id}" in live, f"its object is gone: {row}"

    def rows_are_those_of_the_model(self, rows: dict[UUID, Operation]) -> None:
        for job in self.model.jobs:
            row = rows.pop(job.pk, None)
            if row is None:
                pruned = not job.task and not job.pending
                assert pruned, f"only ended locks are pruned here: {job}"
                continue
            if self.model.lapsed(job) and row.state == State.FAILED:
                # Whoever wanted the lock has ended it.
                job.state = State.FAILED
            expected = (job.state, job.attempt, job.generation)
            assert (row.state, row.attempt, row.generation) == expected, (row, row.error, job)
            assert row.subject_id == str(job.thing.stale.pk), job
        assert not rows, "these came from nowhere"

    @invariant()
    def each_success_has_its_effects_once_and_nothing_else_has_any(self) -> None:
        found = list(Effect.objects.values_list("name", "key"))
        effects = [effect for effect in found if effect[0] != "compensated"]
        assert len(set(effects)) == len(effects), "one piece of work was done twice"
        for job in self.model.jobs:
            names = Counter(name for name, key in found if key.startswith(str(job.pk)))
            assert names == Counter(job.effects) + Counter(compensated=job.compensations), job

    @invariant()
    def the_objects_are_those_of_the_model(self) -> None:
        for kind in KINDS:
            expected = {thing.stale.pk: thing.removed for thing in self.model.things if thing.here and thing.of(kind)}
            rows = kind._base_manager.all()
            assert {row.pk: getattr(row, "is_removed", False) for row in rows} == expected

    def teardown(self) -> None:
        """Time, sweeps and messages end everything."""
        counted_tasks.endings[:] = ["ok"]
        self.worker.finish()
        assert not Operation.all_rows.filter(state__in=Operation.PENDING).exists()
        self.model.finish()
        self.what_is_promised_holds()
        self.each_success_has_its_effects_once_and_nothing_else_has_any()


def consistent(row: Operation) -> None:
    """Assert that the columns go with the state."""
    assert (row.ended_at is None) == row.is_pending, row
    assert row.due_at is not None or not row.is_pending, f"nobody looks at {row}"
    assert (row.token is not None) == (row.state == State.RUNNING) or row.state == State.QUEUED, row
    expected = slot(Identity.stored(row), row.lock) if row.is_pending and row.lock else None
    assert row.lock_slot == expected, row


@pytest.fixture
def _in_silence():
    """Thousands of failures are logged, as they should be."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("_in_silence")
@pytest.mark.timeout(0 if EXAMPLES else 300)
@pytest.mark.live
def test_random_histories_of_objects_and_their_operations_keep_what_is_promised(transactional_db):
    run_state_machine_as_test(
        Objects,
        settings=settings(
            max_examples=EXAMPLES or 60,
            stateful_step_count=50 if EXAMPLES else 30,
            deadline=None,
            derandomize=not EXAMPLES,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
