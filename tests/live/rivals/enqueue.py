"""Enqueue tasks by the backend in the settings, and nothing from before: ``python -m tests.live.rivals.enqueue 60``."""

import sys

import django
from django.apps import apps
from django.core.management import call_command

from tests.celery import app


def main(number: int) -> None:
    django.setup()
    call_command("migrate", verbosity=0)
    if apps.is_installed("django_tasks_db"):
        apps.get_model("django_tasks_database.DBTaskResult").objects.all().delete()
    with app.connection_for_write() as connection:
        for queue in ("celery", "default"):
            connection.default_channel.queue_declare(queue, durable=True, auto_delete=False)
            connection.default_channel.queue_purge(queue)
    from tests.live.rivals.tasks import charge

    for each in range(number):
        charge.enqueue(each)


if __name__ == "__main__":
    main(int(sys.argv[1]))
