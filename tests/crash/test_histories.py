"""Random histories of calls, deliveries, crashes, time, sweeps, cancels and reruns; the seed tells which."""

import os
import random

import pytest

from tests.crash import tasks
from tests.crash.messages import drain
from tests.crash.model import History
from tests.testapp.models import Effect

#: Other histories at each run; name the seed of a failed one to see it again.
SEED = int(os.environ.get("TASK_SAFETY_TEST_SEED", random.randrange(10**6)))
STEPS = 150


@pytest.mark.parametrize("seed", [*range(1, 7), SEED], ids=lambda seed: "chosen" if seed == SEED else str(seed))
def test_random_histories_keep_what_is_promised(worker, seed):
    print(f"TASK_SAFETY_TEST_SEED={seed}")  # shown where it fails
    history = History(worker, seed)
    for _ in range(STEPS):
        history.step()
        history.check()
    print(history.steps)
    tasks.OUTCOMES.clear()
    drain(worker)
    history.drained()
    history.check()
    assert Effect.objects.exists()
