"""What must become of operations and their objects, in plain Python: the model of `test_state_machine`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.db import models

from django_task_safety import CANCEL, KEEP, PROTECT, ObjectGone, ObjectLocked
from django_task_safety.ledger.worker_id import GRACE
from django_task_safety.models import Operation
from tests.testapp.counted_tasks import LIMIT, RETRY_AFTER, plain

State = Operation.State
LEASE = 30.0
#: Seconds after which an attempt is not renewed any more.
TIME = plain.time_limit + GRACE


@dataclasses.dataclass(eq=False)
class Thing:
    """An object, as it was when it was made."""

    stale: models.Model
    #: Whether it goes with its folder, and whether it is removed softly.
    filed: bool = False
    soft: bool = False
    here: bool = True
    removed: bool = False

    @property
    def name(self) -> str:
        return f"{self.stale._meta.label_lower} {self.stale.pk}"

    @property
    def live(self) -> bool:
        return self.here and not self.removed

    def of(self, kind: type[models.Model]) -> bool:
        return isinstance(self.stale, kind)


@dataclasses.dataclass(eq=False)
class Job:
    """One operation."""

    thing: Thing
    #: The task's name; empty for a lock that code holds.
    task: str
    policy: str
    lock: str = ""
    key: Any = None
    reruns: bool = False
    pk: UUID | None = None
    state: str = State.QUEUED
    attempt: int = 0
    #: Counts the reruns of successes: other systems get another idempotency key.
    generation: int = 0
    #: It may run from then on.
    starts: float = 0.0
    #: The end of the current attempt's lease, and that attempt.
    lease: float = 0.0
    #: When the attempt is not renewed any more.
    deadline: float = math.inf
    holder: object = None
    effects: list[str] = dataclasses.field(default_factory=list)
    compensations: int = 0

    @property
    def pending(self) -> bool:
        return self.state in Operation.PENDING

    @property
    def needs_its_object(self) -> bool:
        return bool(self.lock) or self.policy != KEEP


class Model:
    """All that is expected."""

    def __init__(self) -> None:
        self.now = 0.0
        self.things: list[Thing] = []
        self.jobs: list[Job] = []

    def live(self) -> list[Thing]:
        return [thing for thing in self.things if thing.live]

    def pending(self, thing: Thing) -> list[Job]:
        return [job for job in self.jobs if job.thing is thing and job.pending]

    def lapsed(self, job: Job) -> bool:
        """Whether it is a lock of code that holds nothing any more."""
        return not job.task and job.state == State.RUNNING and job.lease <= self.now

    # What a call gets.

    def enqueue(self, asked: list[Job]) -> list[Job] | type[Exception]:
        """Take calls down that are made together; return the jobs that answer for them, or what they raise."""
        if len(asked) > 1 and (refusal := self.conflict(asked[0])):
            return refusal
        answers = [self._enqueue(job) for job in asked]
        refusals = [answer for answer in answers if isinstance(answer, type)]
        return refusals[0] if refusals else answers

    def _enqueue(self, asked: Job) -> Job | type[Exception]:
        first = next((job for job in self.jobs if asked.key is not None and job.key == asked.key), None)
        if first is not None and (first.pending or (first.state == State.SUCCEEDED and not first.reruns)):
            return first
        if refusal := self.conflict(asked):
            return refusal
        if first is None:
            self.jobs.append(asked)
            return asked
        first.thing, first.starts = asked.thing, asked.starts
        first.generation += first.state == State.SUCCEEDED
        self._reopen(first)
        return first

    def conflict(self, asked: Job) -> type[Exception] | None:
        if any(job.lock == asked.lock != "" and not self.lapsed(job) for job in self.pending(asked.thing)):
            return ObjectLocked
        return ObjectGone if asked.needs_its_object and not asked.thing.live else None

    def retry(self, job: Job) -> bool | type[Exception]:
        if job.pending or job.state == State.SUCCEEDED or not job.task:
            return False
        if refusal := self.conflict(job):
            return refusal
        job.starts = self.now
        self._reopen(job)
        return True

    def _reopen(self, job: Job) -> None:
        job.state, job.attempt, job.holder = State.QUEUED, 0, None

    # What an attempt does.

    def claimable(self, job: Job) -> bool:
        if job.starts > self.now or job.attempt >= LIMIT:
            return False
        lost = job.state == State.RUNNING and job.lease <= self.now and job.lease < job.deadline
        return lost or job.state == State.QUEUED

    def claim(self, job: Job, holder: object) -> None:
        job.state, job.holder, job.lease, job.deadline = State.RUNNING, holder, self.now + LEASE, self.now + TIME
        job.attempt += 1

    def owns(self, job: Job, attempt: object) -> bool:
        return job.state == State.RUNNING and job.holder is attempt

    def renew(self, job: Job) -> None:
        job.lease = min(self.now + LEASE, job.deadline)

    def ran(self, job: Job, ending: str) -> None:
        """The attempt that owns the job came to its end."""
        refused = ending == "delete" and self.refuses([job.thing], besides=job)
        if not job.thing.here:
            job.state = State.CANCELLED
        elif refused or ending == "fail" or (ending == "retry" and job.attempt >= LIMIT):
            self._fail(job)
        elif ending == "retry":
            job.state, job.starts = State.QUEUED, self.now + RETRY_AFTER
        else:
            if ending == "delete":
                self.delete([job.thing], besides=job)
            job.state = State.SUCCEEDED
            job.effects.append(job.thing.name)

    def _fail(self, job: Job) -> None:
        job.state = State.FAILED
        job.compensations += bool(job.task)

    # What happens to objects.

    def refuses(self, things: Iterable[Thing], besides: Job | None = None) -> bool:
        found = [job for thing in things for job in self.pending(thing) if job is not besides]
        return any(job.policy == PROTECT and not self.lapsed(job) for job in found)

    def deletes(self, thing: Thing, how: str) -> list[Thing]:
        """Return what one deletes in this way."""
        if how == "folder":
            return [one for one in self.live() if one.filed]
        if how == "queryset":
            return [thing] if thing.live else []
        if how == "hard queryset":
            return [thing] if thing.here else []
        # An instance may be gone without knowing it; then what was kept on it is cancelled now.
        return [thing] if thing.live or how == "hard" or not thing.soft else []

    def delete(self, things: Iterable[Thing], *, hard: bool = False, besides: Job | None = None) -> None:
        for thing in things:
            soft_collecting = thing.soft and not hard
            if soft_collecting and not thing.live:
                continue
            thing.here, thing.removed = soft_collecting, soft_collecting
            for job in self.pending(thing):
                goes = not soft_collecting and job.policy == KEEP and job.state == State.QUEUED
                if job is not besides and not self.lapsed(job) and (goes or job.policy == CANCEL):
                    job.state = State.CANCELLED

    def refuses_save(self, thing: Thing, resurrects: bool) -> type[Exception] | None:
        if thing.soft and any(job.lock and not self.lapsed(job) for job in self.pending(thing)):
            return ObjectLocked
        return None if thing.live or resurrects else ObjectGone

    def cancel(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            job.state = State.CANCELLED

    # What time does.

    def sweep(self) -> None:
        for job in self.jobs:
            if job.state == State.RUNNING and job.lease <= self.now:
                self.lost(job)

    def lost(self, job: Job) -> None:
        """Nobody hears of the attempt any more."""
        job.holder = None
        if job.task and job.attempt < LIMIT and job.lease < job.deadline:
            job.state, job.starts = State.QUEUED, self.now
        else:
            self._fail(job)

    def finish(self) -> None:
        """All that is pending comes to its end, well where that is possible."""
        for job in self.jobs:
            if job.state == State.RUNNING:
                self.lost(job)
            if job.state == State.QUEUED:
                job.attempt += 1
                self.ran(job, "ok")
