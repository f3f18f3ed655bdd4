"""Long work that is crashed: a split, the end of its last chunk, and what is done with its parent."""

from django_task_safety.ledger.parents import SPLIT
from django_task_safety.models import Operation
from tests.crash import scenario_steps, tasks
from tests.crash.counting import State, effects
from tests.crash.messages import Message, deliver
from tests.crash.scenarios import Details, Scenario
from tests.testapp.models import Order


class LongWork(Scenario):
    """Three orders, charged in two chunks."""

    def split(self, number: int) -> list[Message]:
        """Split the work, and return the messages of the chunks."""
        scenario_steps.split_orders(self.numbers(number), tasks.in_chunks(number))
        return self.take_messages()

    def parent(self, number: int) -> Operation | None:
        return Operation.objects.filter(task=SPLIT, title=tasks.in_chunks(number)).first()

    def charged(self, number: int) -> list[tuple[int, int]]:
        """Return how often each order was charged, and how often that left an effect."""
        charged = dict(Order.objects.filter(number__in=self.numbers(number)).values_list("number", "charged"))
        return [(charged.get(each, 0), effects("chunk", each)) for each in self.numbers(number)]

    def assert_ended(self, number: int, state: State, times: int) -> None:
        parent = self.parent(number)
        assert parent is not None, "the parent is lost"
        assert [child.size for child in parent.children] == [2, 1]
        assert {one.state for one in (parent, *parent.children)} == {state}
        assert self.charged(number) == [(times, times)] * 3


class Split(LongWork):
    """A user's writes and a split, in one transaction."""

    step = "split_orders"

    def prepare(self, number: int) -> tuple[Details, list[Message]]:
        return {"numbers": self.numbers(number), "title": tasks.in_chunks(number)}, []

    def check(self, number: int) -> None:
        if Order.objects.filter(number__in=self.numbers(number)).exists():
            self.assert_ended(number, State.SUCCEEDED, 1)
        else:
            assert self.parent(number) is None
            assert not Operation.all_rows.filter(title=tasks.in_chunks(number)).exists()


class LastChunk(LongWork):
    """The delivery of the last chunk, after which its parent ends."""

    step = "deliver"

    def prepare(self, number: int) -> tuple[Details, list[Message]]:
        first, last = self.split(number)
        deliver(self.worker, [first])
        return {"message": last}, [first, last]

    def check(self, number: int) -> None:
        self.assert_ended(number, State.SUCCEEDED, 1)


class CancelParent(LongWork):
    """A user's write and a cancel of the parent, in one transaction."""

    step = "cancel_split"

    def prepare(self, number: int) -> tuple[Details, list[Message]]:
        messages = self.split(number)
        return {"numbers": self.numbers(number), "pk": str(self.parent(number).pk)}, messages

    def check(self, number: int) -> None:
        cancelled = Order.objects.filter(number__in=self.numbers(number), amount=0).count()
        assert cancelled in (0, 3), "half of a transaction"
        self.assert_ended(number, State.CANCELLED if cancelled else State.SUCCEEDED, 0 if cancelled else 1)


class RetryParent(LongWork):
    """A retry by hand of a parent all of whose chunks had failed."""

    step = "retry"

    def prepare(self, number: int) -> tuple[Details, list[Message]]:
        orders = Order.objects.filter(number__in=self.numbers(number))
        messages = self.split(number)
        orders.update(amount=tasks.DECLINED)
        deliver(self.worker, messages)
        orders.update(amount=1)  # the cause is gone
        assert self.parent(number).state == State.FAILED
        return {"pk": str(self.parent(number).pk)}, messages

    def check(self, number: int) -> None:
        found = self.parent(number).state
        self.assert_ended(number, found, {State.SUCCEEDED: 1, State.FAILED: 0}[found])


SPLIT_SCENARIOS: list[type[Scenario]] = [Split, LastChunk, CancelParent, RetryParent]
