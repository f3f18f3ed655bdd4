"""The example's story, as a user starts it."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.workers import ROOT, left_running, until

#: Seconds that the story may take on two cores.
LIMIT = 90
STORY = [sys.executable, str(ROOT / "example" / "manage.py"), "story"]

#: What plain Celery does to the same input.
LOSSES = {
    "broker stopped while ordering": "never charged",
    "note deleted while ten copies of it are queued": "50 copies of nothing",
    "note deleted while it waits to be published": "10 never published, 10 deleted",
    "note deleted while it waits to be archived": "10 never archived",
    "note deleted while a worker is about to save it": "there again",
    "note imported twice at once": "counted wrongly",
}


@pytest.fixture(autouse=True)
def _on_sqlite(pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("db") != "sqlite":
        pytest.skip("the story brings its own database, SQLite")


def start(temporary: Path) -> subprocess.Popen[str]:
    """Start the story with a folder of its own for everything temporary, by which its processes are known."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "TASK_SAFETY"))}
    environment["TMPDIR"] = str(temporary)
    return subprocess.Popen(STORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def cells(table: str) -> dict[str, list[str]]:
    """Return the table's cells by hazard."""
    rows = [re.split(r"\s*\|\s*", line) for line in table.splitlines() if line.count("|") == 4]
    return {row[0]: row[1:] for row in rows[2:]}


@pytest.mark.timeout(LIMIT + 60)
def test_the_story_holds_every_guarantee_where_plain_celery_does_not_and_leaves_nothing_behind(tmp_path):
    started = time.monotonic()
    story = start(tmp_path)
    table, progress = story.communicate(timeout=LIMIT + 30)
    took = time.monotonic() - started
    assert story.returncode == 0, table + progress
    assert took < LIMIT
    rows = cells(table)
    assert {row[-1] for row in rows.values()} == {"holds"}
    assert rows["message published twice"] == ["30 orders", "30 charged twice", "all right", "holds"]
    for hazard, plain in LOSSES.items():
        assert plain in rows[hazard][1], table
    assert "100%" in progress or "everything comes to rest" in progress
    assert left_running(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.timeout(LIMIT)
def test_the_story_takes_its_workers_with_it_when_it_is_interrupted(tmp_path):
    story = start(tmp_path)
    until(lambda: any(" worker " in command for command in left_running(tmp_path)))
    story.terminate()
    story.communicate(timeout=30)
    assert story.returncode != 0
    assert left_running(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
