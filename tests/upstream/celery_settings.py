"""Settings of the Django project whose tasks are those of Celery's own integration tests."""

import json
import os

SECRET_KEY = "only for tests"
INSTALLED_APPS = ["django.contrib.contenttypes", "django_task_safety"]
DATABASES = {"default": json.loads(os.environ["UPSTREAM_DATABASE"])}
USE_TZ = True
