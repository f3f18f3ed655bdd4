"""The admin of operations where django-unfold draws it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from tests.browser.accessibility import findings, overflow
from tests.support.servers import free_port
from tests.support.workers import until

pytestmark = pytest.mark.skipif(find_spec("unfold") is None, reason="pip install django-unfold")


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, dict[str, Any]]]:
    """The address of a server, and what it printed."""
    port = free_port()
    command = [sys.executable, "-m", "tests.support.unfolded", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        printed = server.stdout.readline()
        yield f"http://127.0.0.1:{port}", json.loads(printed)
        server.kill()


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Any, served: Any) -> Iterator[Any]:
    address, printed = served
    context = browser.new_context(base_url=address, color_scheme=request.param)
    context.add_cookies([{"name": "sessionid", "value": printed["session"], "url": address}])
    yield context.new_page()
    context.close()


def test_all_pages_are_shown_without_a_serious_finding(page, served):
    for path, words in served[1]["pages"].items():
        until(lambda path=path: _is_shown(page, path))
        assert all(word in page.content() for word in words), path
        assert findings(page) == [], path


def _is_shown(page: Any, path: str) -> bool:
    from playwright.sync_api import Error

    try:
        return page.goto(path).status == 200
    except Error:  # the server is not up yet
        return False


def test_our_parts_fit_in_a_narrow_window(page, served):
    page.set_viewport_size({"width": 320, "height": 800})
    for path in served[1]["pages"]:
        until(lambda path=path: _is_shown(page, path))
        assert overflow(page) == 0, path
