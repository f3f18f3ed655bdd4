"""Tasks that say outside the database that an attempt began, and stop its server at once when they are told to.

With ``TASK_SAFETY_TEST_CONTROL`` no claim waits for the disk.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path

from django_task_safety import current_operation, idempotent_task
from django_task_safety.worker import delivery
from tests.testapp.models import Effect

if os.environ.get("TASK_SAFETY_TEST_CONTROL"):
    delivery._durable = lambda task: False


def _begin(kind: str, number: int) -> None:
    """Write a line that survives the database's server, and an effect that must not do so without its claim."""
    attempt = current_operation().attempt
    with open(os.environ["TASK_SAFETY_TEST_BEGUN"], "a") as file:
        file.write(f"{kind} {number} {attempt}\n")
    _stop_if_told(kind)
    Effect.objects.create(name=f"{kind} {attempt}", key=f"{kind} {number}")


def _stop_if_told(kind: str) -> None:
    """Stop the server in the first attempt after the file of its kind was written, which names the server's process."""
    told = Path(f"{os.environ['TASK_SAFETY_TEST_BEGUN']}.{kind}")
    with suppress(FileNotFoundError):
        pid = int(told.read_text())
        told.unlink()
        os.kill(pid, signal.SIGQUIT)


@idempotent_task(key=lambda number: f"inside {number}")
def inside(number: int) -> None:
    _begin("inside", number)


@idempotent_task(key=lambda number: f"once {number}", max_retries=0)
def once(number: int) -> None:
    _begin("once", number)


@idempotent_task(key=lambda number: f"outside {number}", atomic=False)
def outside(number: int) -> None:
    _begin("outside", number)


TASKS = {"inside": inside, "once": once, "outside": outside}
