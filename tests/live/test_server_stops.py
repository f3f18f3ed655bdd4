"""PostgreSQL is stopped at once under workers that claim without a flush: a short `tests.crash.durability`."""

import os
import subprocess
import sys

import pytest

from tests.support.workers import ROOT

STOPS = 4


@pytest.mark.timeout(240)
def test_no_effect_outlives_its_claim(pytestconfig):
    if pytestconfig.getoption("db") != "postgresql":
        pytest.skip("only PostgreSQL claims without a flush")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TASK_SAFETY")}
    command = [sys.executable, "-m", "tests.crash.durability", "--stops", str(STOPS)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"stops={STOPS}, " in done.stdout
