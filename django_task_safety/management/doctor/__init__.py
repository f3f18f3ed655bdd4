"""``task_safety doctor``: looks at what is running rather than at what is configured.

Each probe answers with findings. What it cannot see it says so of, and does not call good. Whatever may hang is asked
in a thread, for a bounded time.
"""
