"""The users' half of the state machine (`test_state_machine`): what they do to objects and ask for."""

import contextvars
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from typing import Any
from uuid import UUID

from django.db import transaction
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from django_task_safety import PROTECT, LockLost, ObjectGone, ObjectLocked
from django_task_safety.ledger.heartbeat import heartbeat
from django_task_safety.models import LockableModel, Operation
from tests.notesapp.models import Ledger
from tests.stateful.object_model import LEASE, Job, Model, State, Thing
from tests.support.delivering import local_worker, undone
from tests.testapp import counted_tasks
from tests.testapp.models import Effect, Folder, Machine, Page

#: Plain; lockable; lockable and removed softly.
KINDS = [Page, Machine, Ledger]
DELETES = ["instance", "queryset", "folder", "hard", "hard queryset"]

which = st.integers(0, 7)
around = st.sampled_from([nullcontext, nullcontext, transaction.atomic, undone])
call = st.fixed_dictionaries(
    {
        "at": which,
        "task": st.sampled_from(counted_tasks.TASKS),
        "number": st.sampled_from([0, 0, 0, 1]),
        "wait": st.sampled_from([None, None, 30, 7200]),
        "how": st.sampled_from(["apply_async", "enqueue", "many"]),
        "around": around,
    }
)


def outcome(call: Any) -> Any:
    """Return what a call returns, or the class of what it raises of ours."""
    try:
        return call()
    except (ObjectGone, ObjectLocked, LockLost) as exc:
        return type(exc)


def job_of(task: Any, thing: Thing, number: int, starts: float) -> Job:
    """Return what a call asks for."""
    key: Any = (task.name, number) if task.key == "number" else (task.name, thing, number)
    kept = {"key": key, "reruns": task.rerun == "always"} if task.idempotent else {}
    return Job(thing, task.name, task.on_delete, task.lock or "", starts=starts, **kept)


def has(name: str) -> Any:
    """Return the condition that there are things, jobs, locks, …"""
    return precondition(lambda self: bool(getattr(self, name, None) or getattr(self.model, name, None)))


class ObjectRules(RuleBasedStateMachine):
    """What users do: to objects, to operations, and with locks."""

    def __init__(self) -> None:
        super().__init__()
        for model in (Operation, Effect, Page, Folder, Machine, Ledger):
            model._base_manager.all()._raw_delete("default")
        self.worker = local_worker()
        self.model = Model()
        #: Messages that nobody took yet, and all there ever were.
        self.inbox: list[Any] = []
        self.sent: list[Any] = []
        self.locks: list[tuple[Job, Any]] = []

    def of(self, message: Any) -> Job:
        return next(job for job in self.model.jobs if str(job.pk) == message.headers["id"])

    def collect(self) -> None:
        # What is published together comes in the order of ids, which are other ones each time.
        new = sorted(self.worker.take(), key=lambda message: self.model.jobs.index(self.of(message)))
        self.inbox += new
        self.sent += new

    # Objects.

    def thing(self, number: int) -> Thing:
        """Those that are there, and the last one of those that were."""
        found = self.model.live() + [thing for thing in self.model.things if not thing.live][-1:]
        return found[number % len(found)]

    @initialize(calls=st.lists(call, min_size=1, max_size=4))
    def begin(self, calls: list[dict[str, Any]]) -> None:
        for kind in KINDS:
            self.add(kind)
        for each in calls:
            self.enqueue(each)

    def add(self, kind: Any) -> None:
        folder = (Folder.objects.first() or Folder.objects.create(name="f")) if kind is Page else None
        made = kind.objects.create(**({"folder": folder} if folder else {}))
        self.model.things.append(Thing(made, filed=folder is not None, soft=kind is Ledger))

    @precondition(lambda self: self.model.things and len(self.model.live()) < 3)
    @rule(kind=st.sampled_from(KINDS))
    def make(self, kind: Any) -> None:
        self.add(kind)

    @has("things")
    @rule(at=which, how=st.sampled_from(DELETES), around=around)
    def delete(self, at: int, how: str, around: Any) -> None:
        thing = self.thing(at)
        gone, delete = self.model.deletes(thing, how), self.way(thing, how)
        refused = self.model.refuses(gone)
        with around():
            assert (outcome(delete) is ObjectLocked) == refused
        if around is not undone and not refused:
            self.model.delete(gone, hard=how.startswith("hard"))

    def way(self, thing: Thing, how: str) -> Callable[[], Any]:
        stale = deepcopy(thing.stale)
        found = getattr(type(stale), "all_objects", type(stale).objects).filter(pk=stale.pk)
        return {
            "instance": stale.delete,
            "queryset": type(stale).objects.filter(pk=stale.pk).delete,
            "folder": Folder.objects.all().delete,
            "hard": getattr(stale, "hard_delete", stale.delete),
            "hard queryset": getattr(found, "hard_delete", found.delete),
        }[how]

    @precondition(lambda self: any(thing.soft and not thing.live for thing in self.model.things))
    @rule(at=which)
    def restore(self, at: int) -> None:
        soft = [thing for thing in self.model.things if thing.soft]
        thing = soft[-1 - at % len(soft)]
        expected = thing.here and not thing.live
        got = outcome(deepcopy(thing.stale).restore)
        assert got == ((int(expected), {"notesapp.Ledger": 1} if expected else {}) if thing.here else ObjectGone)
        thing.removed = False

    @has("things")
    @rule(at=which, changes=st.booleans(), resurrects=st.booleans())
    def save(self, at: int, changes: bool, resurrects: bool) -> None:
        """What somebody loaded long ago is saved."""
        thing = self.thing(at)
        stale = deepcopy(thing.stale)
        if changes:
            setattr(stale, "name" if isinstance(stale, Machine) else "title", "mine")
        # The folder of a page may be gone.
        resurrects = resurrects and not thing.filed
        refusal = self.model.refuses_save(thing, resurrects)
        assert outcome(lambda: stale.save(resurrect=resurrects)) is refusal
        if resurrects and not refusal:
            thing.here, thing.removed = True, False

    # Operations.

    @has("things")
    @rule(asked=call)
    def enqueue(self, asked: dict[str, Any]) -> None:
        self.ask(self.thing(asked["at"]), asked)

    @precondition(lambda self: any(job.key and not job.pending for job in self.model.jobs))
    @rule(at=which, asked=call)
    def enqueue_again(self, at: int, asked: dict[str, Any]) -> None:
        """What has ended is asked for once more, by its key."""
        ended = [job for job in self.model.jobs if job.key and not job.pending]
        job = ended[-1 - at % len(ended)]
        task = next(task for task in counted_tasks.TASKS if task.name == job.task)
        self.ask(job.thing, {**asked, "task": task, "number": job.key[-1]})

    def ask(self, thing: Thing, asked: dict[str, Any]) -> None:
        task, number, how = asked["task"], asked["number"], asked["how"]
        wait = asked["wait"] if how == "apply_async" else None
        numbers = [number] if how != "many" or task.lock else [number, number + 1]
        args = [(deepcopy(thing.stale), each) for each in numbers]

        def enqueue() -> list[UUID]:
            if how == "apply_async":
                return [UUID(task.apply_async(args[0], countdown=wait).id)]
            return [row.pk for row in ([task.enqueue(*args[0])] if how == "enqueue" else task.enqueue_many(args))]

        with asked["around"]():
            got = outcome(enqueue)
        if asked["around"] is undone:
            return
        jobs = [job_of(task, thing, each, self.model.now + (wait or 0)) for each in numbers]
        expected = self.model.enqueue(jobs)
        if isinstance(expected, type):
            assert got is expected
            return
        assert isinstance(got, list), got
        for job, pk in zip(expected, got, strict=True):
            job.pk = job.pk or pk
            assert job.pk == pk
        self.collect()

    @precondition(lambda self: any(job.pending for job in self.model.jobs))
    @rule(at=which, around=around, whole=st.booleans())
    def cancel(self, at: int, around: Any, whole: bool) -> None:
        """Cancel one, or all of an object."""
        thing, job = self.thing(at), self.model.jobs[at % len(self.model.jobs)]
        found = thing.stale.operations.all() if whole else Operation.objects.filter(pk=job.pk)
        jobs = [each for each in (self.model.pending(thing) if whole else [job]) if each.pending]
        with around():
            assert found.cancel() == len(jobs)
        if around is not undone:
            self.model.cancel(jobs)

    @precondition(lambda self: any(not job.pending for job in self.model.jobs))
    @rule(at=which)
    def retry(self, at: int) -> None:
        ended = [job for job in self.model.jobs if not job.pending]
        job = ended[-1 - at % len(ended)]
        for row in Operation.objects.filter(pk=job.pk):
            assert outcome(row.retry) == self.model.retry(job)
        self.collect()

    # Locks.

    @has("things")
    @rule(at=which, name=st.sampled_from(["copy", "copy", "edit"]))
    def lock(self, at: int, name: str) -> None:
        lockable = [thing for thing in self.model.things if isinstance(thing.stale, LockableModel)]
        thing = lockable[-1 - at % len(lockable)]
        job = Job(thing, "", PROTECT, name, state=State.RUNNING, attempt=1, lease=self.model.now + LEASE)
        lock = thing.stale.lock(name)
        refusal = self.model.conflict(job)
        # Somebody else holds it, for all that the rest of this test knows.
        got = outcome(lambda: contextvars.copy_context().run(lock.acquire))
        if refusal:
            assert got is refusal, got
            return
        # Its lease ends when the test says so.
        heartbeat.stop(got.pk)
        job.pk = got.pk
        self.model.jobs.append(job)
        self.locks.append((job, lock))

    @has("locks")
    @rule(at=which)
    def release(self, at: int) -> None:
        job, lock = self.locks.pop(at % len(self.locks))
        held = job.pending
        assert outcome(lock.release) is (None if held else LockLost)
        if held:
            job.state = State.SUCCEEDED
