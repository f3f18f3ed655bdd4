"""The story: the same orders and notes with the same troubles, once on plain Celery and once on django-task-safety."""
