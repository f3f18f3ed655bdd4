"""What ``manage.py task_safety`` can do: a module for each action, with what it accepts and what it does."""
