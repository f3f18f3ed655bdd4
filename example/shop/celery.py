"""The Celery app; `celery -A shop worker`, in the folder of manage.py, runs a worker."""

import os

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES

os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
TRANSPORT_ALIASES["embedded"] = "shop.broker:Transport"

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.autodiscover_tasks(related_name="plain")
