"""Django settings of the example.

Everything that it writes is in one folder: ``EXAMPLE_HOME``, or ``var`` beside manage.py.
"""

import os
from pathlib import Path

BASE = Path(__file__).resolve().parent.parent
HOME = Path(os.environ.get("EXAMPLE_HOME", BASE / "var"))
HOME.mkdir(parents=True, exist_ok=True)

SECRET_KEY = "only for the example"
DEBUG = True
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "shop.urls"
STATIC_URL = "static/"

INSTALLED_APPS = [
    # Its base template is the one of the package's pages too, so it comes first.
    "demo",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_task_safety",
    "notes",
]

MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "demo.middleware.GuestMiddleware",
    "django_task_safety.middleware.TaskSafetyMiddleware",
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

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": HOME / "shop.sqlite3",
        # Several processes write: wait for each other instead of failing halfway.
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}

CELERY_BROKER_URL = "embedded://"
CELERY_BROKER_TRANSPORT_OPTIONS = {"folder": str(HOME / "broker"), "polling_interval": 0.02}
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_IGNORE_RESULT = True

#: How many times slower work is than in the story, so that one can watch it.
PACE = float(os.environ.get("EXAMPLE_PACE", 1))

# Short, so that the demonstration is: in production leave them at their defaults.
TASK_SAFETY = {"LEASE": 3, "SWEEP_INTERVAL": 0.5, "REPUBLISH_AFTER": 8}
