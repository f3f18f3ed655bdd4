"""Django's own task, which came with 6.0."""

from django.tasks import task

from tests.testapp.models import Order
from tests.testing.planted.shop import call


@task
def djangos_task(number: int) -> None:
    order = Order.objects.get(number=number)
    call("shipments")  # fault: shipped again if this attempt does not commit
    Order.objects.filter(pk=order.pk).update(charged=1)


TASKS = [djangos_task]
