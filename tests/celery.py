"""The Celery app of the tests; `celery --app tests worker` runs a worker."""

import os

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

# kombu's own lets workers take half a message, of which they die.
TRANSPORT_ALIASES["filesystem"] = "tests.support.embedded:Transport"

app = Celery("tests")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
