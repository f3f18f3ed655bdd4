"""Django's and Celery's own tests, plain and with the package's classes in place: ``python -m tests.upstream``."""

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
