"""The page of orders: each is charged once, whatever happens on the way; plain Celery charges the same beside it."""

import secrets

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from demo import engine, processes, score, twin
from demo.live import fragment
from demo.views.pages import back, number, on_plain_celery
from django_task_safety.models import Operation
from notes import tasks
from notes.models import Order
from notes.story.workers import until

#: In cents.
ITEMS = {"notebook": 590, "fountain pen": 7970, "desk lamp": 4850, "whiteboard": 12800}
CARDS = {
    "visa": "a good one",
    "slow": "the bank takes six seconds",
    "busy": "the bank is busy at first",
    "timeout": "the bank charges, but its answer is lost",
    "declined": "the bank declines it",
}
SHOWN = 12
#: Seconds within which a payment begins, unless the broker is stopped.
BEGINNING = 5


def orders(request: HttpRequest) -> HttpResponse:
    choices = {"items": ITEMS, "cards": CARDS, "number": 1 + secrets.randbelow(twin.OFFSET - 1)}
    return render(request, "demo/orders.html", {**choices, **_table()})


def table(request: HttpRequest) -> HttpResponse:
    return fragment(request, "demo/orders_table.html", _table())


def _table() -> dict[str, object]:
    """The newest orders, and how often the bank was paid for each."""
    found = Order.objects.filter(number__lt=twin.OFFSET).order_by("-pk").prefetch_related("operations")[:SHOWN]
    paid = score.payments()
    rows = [(order, paid.get(order.number, 0), paid.get(twin.OFFSET + order.number, 0)) for order in found]
    return {"rows": rows}


@require_POST
def order(request: HttpRequest) -> HttpResponse:
    """Place an order, in one of the ways that the buttons offer.

    Its number comes with the page, so that the same page, sent twice, is the same order.
    """
    chosen = number(request.POST.get("number", ""), twin.OFFSET - 1, twin.OFFSET - 1)
    ways = {"double": _click_twice, "twice": _deliver_twice, "kill": _kill_the_worker}
    ways.get(request.POST.get("how", ""), _place)(request, chosen)
    return redirect("orders")


def _place(request: HttpRequest, number: int, **different: str) -> None:
    item, card = request.POST.get("item"), request.POST.get("card")
    item = item if item in ITEMS else "notebook"
    values = {"user": request.user, "item": item, "amount": ITEMS[item], "card": card if card in CARDS else "visa"}
    values |= different
    with transaction.atomic():
        placed, _ = Order.objects.get_or_create(number=number, defaults=values)
        tasks.charge_order.delay(placed)
    on_plain_celery(request, lambda: twin.order(number, **values))


def _click_twice(request: HttpRequest, number: int) -> None:
    _place(request, number)
    _place(request, number)


def _deliver_twice(request: HttpRequest, number: int) -> None:
    with engine.broker().publishing_twice():
        _place(request, number)


def _kill_the_worker(request: HttpRequest, number: int) -> None:
    """While the bank is at it: it has charged, and the worker does not know it yet."""
    _place(request, number, card="slow")
    both = {number, twin.OFFSET + number}
    until(lambda: both <= score.payments().keys(), BEGINNING)
    processes.kill("worker")


@require_POST
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    """Cancel an order whose payment has not begun: what the bank does cannot be called back."""
    with transaction.atomic():
        cancelled = get_object_or_404(Order, pk=pk, number__lt=twin.OFFSET, user=request.user)
        waiting = Operation.objects.for_object(cancelled).filter(state=Operation.State.QUEUED)
        if in_time := waiting.cancel("The user cancelled the order", by=request.user):
            cancelled.status = Order.Status.CANCELLED
            cancelled.save()
    if in_time:
        on_plain_celery(request, lambda: twin.cancel_order(cancelled.number))
        messages.success(request, f"{cancelled} is cancelled.")
    else:
        messages.warning(request, f"The payment of {cancelled} had begun.")
    return back(request)
