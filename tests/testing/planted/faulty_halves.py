"""Work in several commits, of which a death leaves a half that a further attempt repeats or takes for all of it."""

from importlib import import_module
from typing import Any

from django.db import connection, connections, transaction
from django.db.models import F

from django_task_safety import idempotent_task, safe_task
from tests.testapp.models import Country, Effect, Machine, Note, Order
from tests.testing.planted.shop import folder


@idempotent_task(key="number", atomic=False)
def flag_before_the_work(number: int) -> None:
    note = Note.objects.get(title="n1")
    if note.text == "published":
        return
    note.text = "published"
    note.save()  # fault: the next attempt takes it for published
    Effect.objects.create(name="published", key=str(number))


@idempotent_task(key="number", atomic=False)
def counter_outside_a_transaction(number: int) -> None:
    Order.objects.filter(number=number).update(charged=F("charged") + 1)  # fault: counted again
    Effect.objects.update_or_create(name="counted", key=str(number))


@idempotent_task(key="number", atomic=False)
def row_without_a_key(number: int) -> None:
    order = Order.objects.get(number=number)
    Effect.objects.create(name="receipt", key=str(number))  # fault: a second receipt
    Order.objects.filter(pk=order.pk).update(charged=order.amount)


@idempotent_task(key="number", atomic=False)
def delete_before_the_copy(number: int) -> None:
    notes = list(Note.objects.filter(title__startswith="n"))
    Note.objects.filter(pk__in=[note.pk for note in notes]).delete()  # fault: what is gone is never archived
    Effect.objects.bulk_create([Effect(name="archived", key=note.title) for note in notes])


@idempotent_task(key="number", atomic=False)
def numbered_by_the_count(number: int) -> None:
    title = f"Invoice {Note.objects.count() + 1}"
    Note.objects.get_or_create(title=title, defaults={"text": str(number)})  # fault: the next attempt counts one more
    Order.objects.filter(number=number).update(charged=F("amount"))


@idempotent_task(key="number", atomic=False)
def looked_up_by_what_changes(number: int) -> None:
    note, _ = Note.objects.get_or_create(title=f"Export {number}", text="new")
    Effect.objects.get_or_create(name="exported", key=str(number))
    Note.objects.filter(pk=note.pk).update(text="done")  # fault: the next attempt finds none, and makes another
    Order.objects.filter(number=number).update(charged=F("amount"))


@idempotent_task(key="number", atomic=False)
def checkpoint_before_the_chunk(number: int) -> None:
    start = Order.objects.get(number=number).charged
    for offset in range(start, 4, 2):
        chunk = Note.objects.order_by("pk")[offset : offset + 2]
        Order.objects.filter(number=number).update(charged=offset + 2)  # fault: the chunk is skipped
        Effect.objects.bulk_create([Effect(name="copied", key=note.title) for note in chunk])


@idempotent_task(key="number", atomic=False)
def checkpoint_after_the_chunk(number: int) -> None:
    start = Order.objects.get(number=number).charged
    for offset in range(start, 4, 2):
        chunk = Note.objects.order_by("pk")[offset : offset + 2]
        Effect.objects.bulk_create([Effect(name="copied", key=note.title) for note in chunk])  # fault: copied again
        Order.objects.filter(number=number).update(charged=offset + 2)


@idempotent_task(key="number", atomic=False)
def resumed_from_a_count(number: int) -> None:
    done = Effect.objects.filter(name="copied").count()
    for note in Note.objects.order_by("pk")[done:3]:
        Effect.objects.create(name="copied", key=note.title)  # fault: it counts as done before it is indexed
        Effect.objects.create(name="indexed", key=note.title)


@idempotent_task(key="number", atomic=False)
def lock_flag_that_leaks(number: int) -> None:
    if not Machine.objects.filter(name="idle").update(name="busy"):  # fault: nobody ever sets it free
        return
    try:
        Effect.objects.create(name="worked", key=str(number))
    finally:
        Machine.objects.filter(name="busy").update(name="idle")


@idempotent_task(key="number", atomic=False)
def toggled(number: int) -> None:
    note = Note.objects.get(title="n1")
    note.text = "" if note.text == "shown" else "shown"
    note.save()  # fault: the next attempt turns it back
    Effect.objects.get_or_create(name="switched", key=str(number))


def transfer_in_two_transactions() -> None:
    """What a script from cron does, and does again."""
    with transaction.atomic():  # fault: taken, not given, and taken again
        Order.objects.filter(number=7).update(amount=F("amount") - 50)
        Effect.objects.create(name="taken", key="7")
    with transaction.atomic():
        Order.objects.filter(number=8).update(amount=F("amount") + 50)
        Effect.objects.create(name="given", key="8")


@safe_task
def commits_in_sql(number: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE testapp_order SET charged = charged + 250 WHERE number = %s", [number])
        cursor.execute("COMMIT")  # fault: what is committed here is not undone with the attempt
    Effect.objects.create(name="charged", key=str(number))


@safe_task
def other_database(number: int) -> None:
    order = Order.objects.get(number=number)
    Effect.objects.using("other").create(name="copied", key=str(number))  # fault: committed there, and again
    order.charged = order.amount
    order.save()


@safe_task
def raw_driver_of_another_database(number: int) -> None:
    connections["other"].ensure_connection()
    connections["other"].connection.execute("INSERT INTO testapp_country VALUES (hex(randomblob(8)))")  # fault: again
    Order.objects.filter(number=number).update(charged=1)


@safe_task
def driver_of_its_own(number: int) -> None:
    place = connection.settings_dict
    to: dict[str, Any] = {"host": place["HOST"], "user": place["USER"], "port": int(place["PORT"] or 0)}
    name = {"sqlite": "sqlite3", "postgresql": "psycopg", "mysql": "pymysql"}[connection.vendor]
    to = {"database": folder() / "old.sqlite3"} if name == "sqlite3" else to
    import_module(name).connect(**to).close()  # fault: what is sent on it is not known


@safe_task
def moved_between_databases(number: int) -> None:
    codes = list(Country.objects.using("other").values_list("code", flat=True))
    Country.objects.bulk_create([Country(code=code) for code in codes])
    Country.objects.using("other").all().delete()  # fault: gone there before the copies are committed here
    Effect.objects.create(name="moved", key=str(number))


TASKS = [
    flag_before_the_work,
    counter_outside_a_transaction,
    row_without_a_key,
    delete_before_the_copy,
    numbered_by_the_count,
    looked_up_by_what_changes,
    checkpoint_before_the_chunk,
    checkpoint_after_the_chunk,
    resumed_from_a_count,
    lock_flag_that_leaks,
    toggled,
    transfer_in_two_transactions,
    commits_in_sql,
    other_database,
    raw_driver_of_another_database,
    driver_of_its_own,
    moved_between_databases,
]
