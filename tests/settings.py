"""Django settings of the tests; processes started by a test get its servers through the environment."""

import json
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import django

# The package counts and traces where OpenTelemetry is installed; the tests about that say so.
os.environ.setdefault("OTEL_SDK_DISABLED", "true")

SECRET_KEY = "only for tests"
USE_TZ = True
# A model of the tests is unique among removed rows as well, and tests say themselves who asks for an operation.
SILENCED_SYSTEM_CHECKS = ["task_safety.W004", "task_safety.W013"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.admin",
    "django_task_safety",
    "tests.testapp",
    "tests.notesapp",
]

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# A file, since threads and processes cannot share a database in memory.
SQLITE: dict[str, Any] = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": ":memory:",
    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    },
    "TEST": {"NAME": str(Path(tempfile.gettempdir(), f"test_task_safety_{os.getpid()}.sqlite3"))},
}
DATABASES = {
    "default": json.loads(os.environ.get("TASK_SAFETY_TEST_DATABASE", "null")) or SQLITE,
    # For objects that are not where the operations are.
    "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
}

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

CELERY_BROKER_URL = os.environ.get("TASK_SAFETY_TEST_BROKER", "memory://")
CELERY_RESULT_BACKEND = os.environ.get("TASK_SAFETY_TEST_BACKEND", "cache+memory://")
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = json.loads(os.environ.get("TASK_SAFETY_TEST_OPTIONS", "{}"))
CELERY_DB_REUSE_MAX = int(os.environ.get("TASK_SAFETY_TEST_REUSE", "0"))
#: Where Django's Tasks are: Django 5.2 has them by a package.
DJANGO_TASKS = "django.tasks" if django.VERSION >= (6,) else "django_tasks"
if find_spec(DJANGO_TASKS):
    INSTALLED_APPS += [] if django.VERSION >= (6,) else [DJANGO_TASKS]
    TASKS = {
        "default": {
            "BACKEND": "django_task_safety.backends.SafeTaskBackend",
            "QUEUES": ["default", "mail"],
            "OPTIONS": {"tasks": {"tests.testapp.django_tasks.configured": {"key": "number"}}},
        }
    }
    CELERY_IMPORTS = ["tests.testapp.django_tasks"]
TASK_SAFETY: dict[str, Any] = json.loads(os.environ.get("TASK_SAFETY_TEST_SETTINGS", "{}"))
