"""``manage.py demo`` starts by itself, and leaves nothing behind however it ends."""

import os
import signal
import socket
import subprocess
from urllib.request import urlopen

import pytest

from tests.browser.demo import COMMAND, Demo
from tests.support.workers import left_running, until


def test_the_demonstration_starts_on_a_port_that_is_free_and_stops_with_all_its_processes(tmp_path):
    with socket.create_server(("127.0.0.1", 8000)) if is_free(8000) else socket.socket(), Demo(tmp_path) as demo:
        assert not demo.address.endswith(":8000/")
        assert "user demo, password demo" in demo.output
        assert b"Shopping list" in urlopen(demo.address).read()
        assert demo.end(signal.SIGINT) == 0
    assert left_running(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def is_free(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0


def test_the_demonstrations_processes_end_when_the_one_that_started_them_is_killed(tmp_path):
    with Demo(tmp_path) as demo:
        until(lambda: any("celery" in command for command in left_running(tmp_path)))
        assert demo.end(signal.SIGKILL) == -signal.SIGKILL
        assert until(lambda: left_running(tmp_path) == [])


@pytest.mark.parametrize("port", ["99999", "taken"])
def test_a_port_that_cannot_be_used_is_refused_with_what_helps(tmp_path, port):
    with socket.create_server(("127.0.0.1", 0)) as server:
        chosen = str(server.getsockname()[1]) if port == "taken" else port
        environment = {**os.environ, "TMPDIR": str(tmp_path)}
        refused = subprocess.run(
            [*COMMAND, "--port", chosen], env=environment, capture_output=True, text=True, timeout=60
        )
    assert refused.returncode == 1
    assert f"Port {chosen} cannot be used" in refused.stderr
    assert "Without --port" in refused.stderr
    assert list(tmp_path.iterdir()) == []
