"""Tasks as projects have them: with a fault that one death of the process shows, and as they should be.

In `FAULTY` the line with, or after, which a death does harm ends in ``# fault:`` and why; `CORRECT` may die anywhere.
"""

import django

from tests.testing.planted import (
    correct_halves,
    correct_outside,
    faulty_files,
    faulty_halves,
    faulty_outside,
    faulty_plain,
)

FAULTY = [*faulty_outside.TASKS, *faulty_halves.TASKS, *faulty_files.TASKS, *faulty_plain.TASKS]
CORRECT = [*correct_outside.TASKS, *correct_halves.TASKS]

if django.VERSION >= (6,):
    from tests.testing.planted import faulty_django

    FAULTY += faulty_django.TASKS
