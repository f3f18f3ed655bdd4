"""A model of one key's operation, against which random histories are checked."""

import dataclasses
import random

from django_task_safety import ledger
from django_task_safety.models import Operation
from django_task_safety.worker import sweeper
from tests.crash import tasks
from tests.crash.counting import State
from tests.crash.messages import Message, from_json, to_json
from tests.support.delivering import LocalWorker
from tests.testapp.models import Effect

LEASE = 30.0
ENDINGS = ["ok", "ok", "fail", "retry", "reject"]


@dataclasses.dataclass
class Expected:
    """What the key's row must look like, and how many effects there must be."""

    state: str = ""
    attempt: int = 0
    #: Whether a lease holds, or a wait.
    waits: bool = False
    effects: int = 0


class History:
    """Takes random steps with a few keys, and knows what each of them must lead to."""

    def __init__(self, worker: LocalWorker, seed: int, keys: int = 3) -> None:
        self.worker, self.random = worker, random.Random(seed)
        self.expected = {key: Expected() for key in range(keys)}
        self.messages: dict[int, list[Message]] = {key: [] for key in range(keys)}
        self.steps: list[str] = []
        self.limit = tasks.count.max_retries + 1

    def step(self) -> None:
        """Do one thing that may happen."""
        often, seldom = (
            [self.enqueue, self.deliver, self.deliver],
            [self.crash, self.pass_time, self.cancel, self.retry],
        )
        step = self.random.choice([*often, *often, *seldom])
        key = self.random.choice(list(self.expected))
        self.steps.append(f"{step.__name__} {key}")
        step(key, self.expected[key])
        self.collect()

    def enqueue(self, key: int, expected: Expected) -> None:
        tasks.count.delay(key)
        if expected.state not in Operation.PENDING:
            expected.state, expected.attempt, expected.waits = State.QUEUED, 0, False

    def deliver(self, key: int, expected: Expected) -> None:
        """Deliver any message that was ever published for the key."""
        if not self.messages[key]:
            return
        ending = tasks.OUTCOMES[key] = self.random.choice(ENDINGS)
        self.steps[-1] += f" {ending}"
        self.worker.deliver(from_json(self.random.choice(self.messages[key])))
        if self.claimable(expected):
            expected.attempt += 1
            self.ended(expected, "fail" if ending == "retry" and expected.attempt == self.limit else ending)

    def ended(self, expected: Expected, ending: str) -> None:
        expected.waits = ending == "retry"
        expected.state = {
            "ok": State.SUCCEEDED,
            "fail": State.FAILED,
            "retry": State.QUEUED,
            "reject": State.FAILED,
        }[ending]
        expected.effects += ending == "ok"

    def crash(self, key: int, expected: Expected) -> None:
        """Claim it, and never be heard of again."""
        row = self.row(key)
        if row is None:
            return
        seen = ledger.claim(row.pk, "crashed", LEASE, None)
        assert seen is not None
        assert seen.claimed == self.claimable(expected), self.steps
        if seen.claimed:
            expected.state, expected.waits = State.RUNNING, True
            expected.attempt += 1

    def pass_time(self, key: int, expected: Expected) -> None:
        """Let leases and waits end; sweep, or not."""
        self.worker.pass_time(61)
        swept = self.random.random() < 0.7
        for each in self.expected.values():
            each.waits = False
            if swept and each.state == State.RUNNING:
                each.state = State.FAILED if each.attempt >= self.limit else State.QUEUED
        if swept:
            self.steps[-1] += " and sweep"
            sweeper.sweep()

    def cancel(self, key: int, expected: Expected) -> None:
        row = self.row(key)
        if row is not None:
            pending = expected.state in Operation.PENDING
            assert row.cancel() == pending, self.steps
            expected.state = State.CANCELLED if pending else expected.state

    def retry(self, key: int, expected: Expected) -> None:
        row = self.row(key)
        if row is not None:
            rerun = expected.state in (State.FAILED, State.CANCELLED)
            assert row.retry() == rerun, self.steps
            if rerun:
                expected.state, expected.attempt, expected.waits = State.QUEUED, 0, False

    def claimable(self, expected: Expected) -> bool:
        return expected.state in Operation.PENDING and not expected.waits and expected.attempt < self.limit

    def drained(self) -> None:
        """Take down that everything pending has come to its end, successfully where it had an attempt left."""
        for expected in self.expected.values():
            if expected.state in Operation.PENDING:
                lost = expected.attempt >= self.limit
                expected.waits, expected.state = False, State.FAILED if lost else State.SUCCEEDED
                expected.attempt += not lost
                expected.effects += not lost

    def row(self, key: int) -> Operation | None:
        return Operation.objects.filter(task=tasks.count.name, key=str(key)).first()

    def collect(self) -> None:
        for message in self.worker.take():
            self.messages[message.payload[0][0]].append(to_json(message))

    def check(self) -> None:
        """Assert what always holds, and what the model says."""
        rows = {int(row.key): row for row in Operation.all_rows.all()}
        assert len(rows) == Operation.all_rows.count(), f"two rows for one key: {self.steps}"
        for key, expected in self.expected.items():
            effects = list(Effect.objects.filter(name=f"count {key}").values_list("key", flat=True))
            assert len(effects) == expected.effects, f"effects of {key}: {self.steps}"
            assert len(set(effects)) == len(effects), f"a piece of work of {key} was done twice: {self.steps}"
            if not expected.state:
                assert key not in rows
                continue
            row = rows[key]
            assert (row.state, row.attempt) == (expected.state, expected.attempt), f"{row}: {self.steps}"
            assert row.due_at is not None, f"nobody will look at {row}: {self.steps}"
            if row.state != State.QUEUED:
                assert (row.token is not None) == row.is_pending, f"{row}: {self.steps}"
            assert (row.ended_at is None) == row.is_pending, f"{row}: {self.steps}"
