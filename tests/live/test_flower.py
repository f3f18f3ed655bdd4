"""Flower itself, beside a worker."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from typing import Any
from urllib.request import urlopen

import pytest

from tests.support.factories import NoteFactory
from tests.support.servers import free_port
from tests.support.workers import ROOT, until
from tests.testapp.tasks import copy_note

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(find_spec("flower") is None, reason="pip install flower"),
    # The broker in a folder has no events.
    pytest.mark.parametrize("broker", ["redis", "rabbitmq"], indirect=True),
]


@pytest.fixture
def flower(start_worker) -> Iterator[str]:
    """The address of Flower's API."""
    port = str(free_port())
    command = [sys.executable, "-m", "celery", "-A", "tests", "flower", "--address=127.0.0.1", f"--port={port}"]
    environment = {**os.environ, "FLOWER_UNAUTHENTICATED_API": "true"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL) as process:
        yield f"http://127.0.0.1:{port}/api"
        process.kill()


def read(url: str) -> Any:
    """Return what the API answers; None while it does not."""
    with suppress(OSError), urlopen(url, timeout=5) as answer:
        return json.load(answer)
    return None


def test_flower_names_the_operation_its_task_and_its_object(flower, start_worker):
    until(lambda: read(f"{flower}/tasks") is not None)
    start_worker("--task-events")
    until(lambda: read(f"{flower}/workers?refresh=true"))
    note = NoteFactory()
    result = copy_note.delay(note, 2)
    until(lambda: (read(f"{flower}/tasks") or {}).get(result.id, {}).get("state") == "SUCCESS")
    shown = read(f"{flower}/tasks")[result.id]
    assert (shown["name"], shown["args"]) == (copy_note.name, f"(<Note {note.pk}>, 2)")
