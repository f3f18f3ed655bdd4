"""One act: the whole input and all troubles, on one of the two sides."""

import time
from collections.abc import Callable

from django.conf import settings
from django.db import transaction

from django_task_safety.models import Operation
from notes.models import NoteFields, Order
from notes.orders import Row, fetch, open_shop
from notes.story import count
from notes.story.cast import COPIES, DELETED, LONG, NOTES, Cast, cast
from notes.story.shops import Shop
from notes.story.workers import Worker, until
from notes.work import AT_THE_PROOFREADER
from shop.broker import Server

#: Seconds that the broker is gone at least, and that everything must be quiet before the result is counted: longer
#: than any task, since one that was acknowledged early leaves no trace while it runs.
OUTAGE, QUIET = 1.5, 2.0


class Act:
    def __init__(self, shop: Shop, say: Callable[[float, str], None]):
        rows = fetch()
        self.cast: Cast = cast(rows, open_shop(rows, shop.note_model, NOTES))
        self.users = {user.username: user for user in {note.owner for note in self.cast.quiet_notes}}
        self.shop, self._say = shop, say
        self.server = Server(settings.CELERY_BROKER_TRANSPORT_OPTIONS["folder"])
        self._now, self._quiet_until = "", 0.0

    def play(self) -> None:
        """Leaves its result in the databases, and no process behind."""
        self.orders_come_in()
        with Worker() as worker:
            self.users_delete_what_is_worked_on()
            self.users_cancel_orders()
            self.the_worker_is_killed(worker)
        self.notes_change_while_nobody_works()
        with Worker():
            self.the_broker_stops()
            self.everything_comes_to_rest()

    def orders_come_in(self) -> None:
        self.say("orders come in")
        cast = self.cast
        for note in cast.proofread_notes:
            self.visit(self.shop.proofread, note)
        for note in cast.imported_notes:
            for _ in range(2):
                self.visit(self.shop.import_parts, note)
        self.place(cast.usual[::2])
        for note in cast.quiet_notes:
            self.visit(self.shop.copy, note, COPIES)
        with self.server.publishing_twice():
            self.place(cast.twice)
        for row in cast.clicks:
            self.place([row, row])
        self.place(cast.busy + cast.unanswered + cast.declined)
        for row, note in zip(cast.killed, cast.long_notes, strict=True):
            self.place([row])
            self.visit(self.shop.copy, note, LONG)
        self.place(cast.usual[1::2])
        self.place(cast.cancelled)

    def users_delete_what_is_worked_on(self) -> None:
        self.say("users delete notes that are proofread")
        for note in self.cast.proofread_notes:
            self.wait(self.shop.note_model.objects.filter(pk=note.pk, text=AT_THE_PROOFREADER).exists)
            self.visit(self.delete, note)

    def users_cancel_orders(self) -> None:
        self.say("users cancel orders")
        self.wait(lambda: count.payments() > 0)
        for row in self.cast.cancelled:
            self.visit(self.cancel, row)

    def the_worker_is_killed(self, worker: Worker) -> None:
        """While a payment is under way: the bank has charged, and the worker does not know it yet."""
        self.say("a worker is killed")
        self.wait(lambda: count.payments(self.cast.killed) > 0)
        time.sleep(0.3)
        worker.kill()
        self.server.redeliver()

    def notes_change_while_nobody_works(self) -> None:
        self.say("notes change")
        for note in self.cast.edited_notes:
            self.visit(self.shop.copy, note, COPIES)
            self.shop.note_model.objects.filter(pk=note.pk).update(text="edited")
        for note in self.cast.deleted_notes:
            for _ in range(DELETED):
                self.visit(self.shop.copy, note, 1)
            self.visit(self.delete, note)
        for note in self.cast.published_notes:
            self.visit(self.shop.publish, note)
            self.visit(self.delete, note)
        for note in self.cast.archived_notes:
            self.visit(self.shop.archive, note)
            self.visit(self.delete, note)

    def the_broker_stops(self) -> None:
        self.say("a new worker takes over")
        before = count.payments()
        self.wait(lambda: count.payments() > before)
        self.say("the broker stops")
        self.server.stop()
        again = time.monotonic() + OUTAGE
        self.place(self.cast.outage)
        self.wait(lambda: time.monotonic() > again)
        self.server.start()

    def everything_comes_to_rest(self) -> None:
        self.say("everything comes to rest")
        last = [time.monotonic()]

        def quiet() -> bool:
            if not self.server.is_idle() or Operation.objects.pending().exists():
                last[0] = time.monotonic()
            return time.monotonic() - last[0] > QUIET

        self.wait(quiet, timeout=45)

    def place(self, rows: list[Row]) -> None:
        for row in rows:
            self.visit(self.order, row)

    def order(self, row: Row) -> None:
        """What the web request does that places an order; sent twice, it finds the order there."""
        values = {"user": self.users[row.user], "item": row.item, "amount": row.amount, "card": row.card}
        with transaction.atomic():
            order, _ = Order.objects.get_or_create(number=row.number, defaults=values)
            self.shop.charge(order)

    def cancel(self, row: Row) -> None:
        with transaction.atomic():
            order = Order.objects.get(number=row.number)
            order.status = Order.Status.CANCELLED
            order.save()
            self.shop.cancel(order)

    def delete(self, note: NoteFields) -> None:
        self.shop.note_model.objects.get(pk=note.pk).delete()

    def visit(self, view: Callable[..., None], *arguments: object) -> None:
        """A web request that fails shows an error page, and the next user comes."""
        try:
            view(*arguments)
        except Exception as problem:
            with (settings.HOME / "web.log").open("a") as log:
                print(f"{view.__name__}{arguments}: {problem!r}", file=log)
        self.say()

    def wait(self, condition: Callable[[], bool], timeout: float = 20.0) -> None:
        """What does not come in time shows in the result."""
        until(condition, timeout, tick=self.say)

    def say(self, now: str = "") -> None:
        """Report how far it is, a few times a second."""
        if now or time.monotonic() > self._quiet_until:
            self._now, self._quiet_until = now or self._now, time.monotonic() + 0.2
            self._say(min(1.0, count.done(self.shop.note_model) / self.cast.work), self._now)
