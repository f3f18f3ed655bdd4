"""The pieces of work that are crashed: what is there before, what the process does, and what must hold afterwards."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from celery import Task
from django.db import transaction

from django_task_safety.models import Operation
from tests.crash import scenario_steps, tasks
from tests.crash.counting import (
    State,
    assert_charged_once,
    assert_failed_once,
    assert_never_charged,
    effects,
    operation,
)
from tests.crash.forked_processes import ForkedProcesses
from tests.crash.messages import Message, deliver, pass_lease, to_json
from tests.support.delivering import LocalWorker
from tests.testapp.models import Order

Details = dict[str, Any]


class Scenario(ABC):
    """A piece of work; `number` tells its runs apart."""

    step: ClassVar[str]
    #: Whether it has a COMMIT of its own, rather than statements that commit by themselves.
    commits: ClassVar[bool] = True
    #: The number of the run without a crash.
    DRY: ClassVar[int] = 1

    def __init__(self, processes: ForkedProcesses, worker: LocalWorker) -> None:
        self.processes, self.worker = processes, worker

    @abstractmethod
    def prepare(self, number: int) -> tuple[Details, list[Message]]:
        """Return the step's arguments, and the messages that may come again after its death."""

    @abstractmethod
    def check(self, number: int) -> None:
        """Assert what must hold when everything has come to its end."""

    def order(self, number: int, task: Task = tasks.charge, **kwargs: Any) -> list[Message]:
        """Write an order and call the task; return the messages of that."""
        Order.objects.create(number=number, amount=1)
        task.apply_async((number,), kwargs)
        return self.take_messages()

    @staticmethod
    def numbers(number: int) -> list[int]:
        """Return three numbers, for a run that needs more than one."""
        return [number * 10 + each for each in range(3)]

    def take_messages(self) -> list[Message]:
        return [to_json(message) for message in self.worker.take()]


class Enqueue(Scenario):
    """A user's write and a call, in one transaction."""

    step = "place_order"

    def prepare(self, number: int) -> tuple[Details, list[Message]]:
        return {"number": number}, []

    def check(self, number: int) -> None:
        if Order.objects.filter(number=number).exists():
            assert_charged_once(number)
        else:
            assert_never_charged(number, None)

    def repeat(self, number: int) -> None:
        """What a user does who never got an answer."""
        with transaction.atomic():
            Order.objects.get_or_create(number=number, defaults={"amount": 1})
            tasks.charge.delay(number)


class EnqueueMany(Scenario):
    """A user's writes and their calls, in one transaction."""

    step = "place_orders"

    def prepare(self, number: int) -> tuple[Details, list[Message]]:
        return {"numbers": self.numbers(number)}, []

    def check(self, number: int) -> None:
        present = [Order.objects.filter(number=each).exists() for each in self.numbers(number)]
        assert len(set(present)) == 1, "half of a transaction"
        for each in self.numbers(number):
            assert_charged_once(each) if present[0] else assert_never_charged(each, None)


class Delivery(Scenario):
    """A worker's delivery of a message, all of it: claim, body, settle."""

    step = "deliver"
    task: ClassVar[Task] = tasks.charge
    endings: ClassVar[list[str]] = []

    def prepare(self, number: int) -> tuple[Details, list[Message]]:
        messages = self.order(number, self.task, **({"endings": self.endings} if self.endings else {}))
        return {"message": messages[0]}, messages

    def check(self, number: int) -> None:
        assert_charged_once(number)


class Retry(Delivery):
    """An attempt that fails and is followed by another."""

    endings = ["retry", "ok"]
    commits = False


class SecondAttempt(Delivery):
    """The attempt after one that failed."""

    endings = ["retry", "ok"]

    def prepare(self, number: int) -> tuple[Details, list[Message]]:
        deliver(self.worker, self.order(number, endings=self.endings))
        pass_lease(self.worker)
        messages = self.take_messages()
        return {"message": messages[0]}, messages


class Failure(Delivery):
    """An attempt that fails for good, and is compensated."""

    endings = ["fail"]

    def check(self, number: int) -> None:
        assert_failed_once(number)


class Callback(Scenario):
    """A delivery whose message carries a callback."""

    step = "deliver"

    def prepare(self, number: int) -> tuple[Details, list[Message]]:
        Order.objects.create(number=number, amount=1)
        tasks.charge.apply_async((number,), link=tasks.thank.si(number))
        messages = self.take_messages()
        return {"message": messages[0]}, messages

    def check(self, number: int) -> None:
        assert_charged_once(number)
        assert effects("thank", number) == 1


class Unregistered(Scenario):
    """A delivery of a message that somebody else published, under an id of their own."""

    step = "deliver"

    def prepare(self, number: int) -> tuple[Details, list[Message]]:
        Order.objects.create(number=number, amount=1)
        for copy in range(2):
            self.worker.app.send_task(tasks.charge.name, (number,), task_id=f"scheduler-{number}-{copy}")
        messages = self.take_messages()
        return {"message": messages[0]}, messages

    def check(self, number: int) -> None:
        assert_charged_once(number)


class Cancel(Scenario):
    """A user's write and a cancel, in one transaction."""

    step = "cancel_order"

    def prepare(self, number: int) -> tuple[Details, list[Message]]:
        messages = self.order(number)
        return {"number": number, "pk": messages[0]["headers"]["id"]}, messages

    def check(self, number: int) -> None:
        if Order.objects.get(number=number).amount == 0:
            assert_never_charged(number, State.CANCELLED)
        else:
            assert_charged_once(number)


class ReplaceArguments(Scenario):
    """Newer arguments for a queued call: the newest run, and once."""

    step = "replace_order"

    def prepare(self, number: int) -> tuple[Details, list[Message]]:
        Order.objects.create(number=number, amount=1)
        scenario_steps.replace_order(number, 1)
        return {"number": number, "amount": 2}, self.take_messages()

    def check(self, number: int) -> None:
        newest = Order.objects.get(number=number).amount
        assert [effects(f"latest {amount}", number) for amount in (newest, 3 - newest)] == [1, 0]
        assert operation(number).state == State.SUCCEEDED


class Sweep(Scenario):
    """A sweep over an operation whose worker died, one that has no attempt left, and one whose message was lost."""

    step = "sweep"

    def prepare(self, number: int) -> tuple[Details, list[Message]]:
        died, spent, lost = self.numbers(number)
        messages = [*self.order(died), *self.order(spent, tasks.charge_once), *self.order(lost)]
        for message in messages[:2]:
            self.processes.run("deliver", {"message": message}, die_at="before UPDATE testapp_order")
        pass_lease(self.worker)
        return {}, messages

    def check(self, number: int) -> None:
        died, spent, lost = self.numbers(number)
        assert_charged_once(died)
        assert_failed_once(spent)
        assert_charged_once(lost)


class Rerun(Scenario):
    """A retry by hand of what had failed."""

    step = "retry"
    commits = False

    def prepare(self, number: int) -> tuple[Details, list[Message]]:
        messages = self.order(number, endings=["fail"])
        deliver(self.worker, messages)
        again = Operation.objects.get(pk=messages[0]["headers"]["id"])
        again.payload = again.payload.replace("fail", "ok")  # the cause is gone
        again.save(update_fields=["payload"])
        return {"pk": str(again.pk)}, messages

    def check(self, number: int) -> None:
        found = operation(number)
        done = {State.SUCCEEDED: 1, State.FAILED: 0}[found.state]
        assert (Order.objects.get(number=number).charged, effects("charge", number)) == (done, done)
        assert effects("refund", number) == 1


SCENARIOS: list[type[Scenario]] = [
    *(Enqueue, EnqueueMany, Delivery, Retry, SecondAttempt, Failure),
    *(Callback, Unregistered, Cancel, ReplaceArguments, Sweep, Rerun),
]
