"""The admin of operations where django-unfold draws it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from tests.browser.accessibility import findings, overflow
from tests.support.servers import free_port
from tests.support.unfolded import ROOT
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


#: Of 1,280 pixels: at 200 % half of them. Or a narrow window, or twice the type.
@pytest.mark.parametrize(("width", "type"), [(320, "100%"), (640, "100%"), (640, "200%")])
def test_our_parts_fit(page, served, width, type):
    page.set_viewport_size({"width": width, "height": 800})
    for path in served[1]["pages"]:
        until(lambda path=path: _is_shown(page, path))
        page.evaluate("(type) => { document.documentElement.style.fontSize = type; }", type)
        assert overflow(page) == 0, path


def test_operations_are_filtered_ticked_and_acted_on_by_keyboard_alone(page):
    from playwright.sync_api import expect

    until(lambda: _is_shown(page, ROOT))
    page.goto(ROOT)
    _press_until(page, "Filters")
    page.keyboard.press("Enter")
    _press_until(page, "failed")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("state=failed"))
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    _press_until(page, "", "input.action-select")
    page.keyboard.press("Space")
    page.keyboard.press("Shift+Tab")
    _press_until(page, "", "select[name=action]")
    page.keyboard.type("Retry")
    _press_until(page, "Run")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Queue this again")).to_be_visible()
    _press_until(page, "", "[type=submit]")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    _press_until(page, "No, take me back")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("state=failed"))


def _press_until(page: Any, words: str, what: str = "a, button") -> None:
    """Press Tab until the focus is on what has these words."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.locator(f":is({what}):focus", has_text=re.compile(f"^\\s*{words}")).count():
            return
    raise AssertionError(f"{words or what} is not reached")


def test_the_list_keeps_itself_up_to_date_but_not_while_something_is_ticked(page):
    from playwright.sync_api import expect

    until(lambda: _is_shown(page, ROOT))
    page.clock.install()
    page.goto(ROOT)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    row = page.locator("#result_list tr", has_text="the third")
    before = row.locator(".ts-state").inner_text()
    other = _act_in_another_tab(page, row)
    expect(row.locator(".ts-state")).not_to_have_text(before)
    # The theme's script of the actions knows the new rows.
    row.get_by_role("checkbox").check()
    expect(page.locator(".action-counter")).to_have_text("1 of 3 selected")
    asked.clear()
    _act_in_another_tab(page, row, other)
    page.clock.fast_forward(60_000)
    assert asked == []
    row.get_by_role("checkbox").uncheck()
    page.locator("h1").first.click()
    page.clock.fast_forward(60_000)
    expect(row.locator(".ts-state")).to_have_text(before)


def _act_in_another_tab(page: Any, row: Any, other: Any = None) -> Any:
    """Cancel an operation, or retry it where that was done before."""
    other = other or page.context.new_page()
    other.goto(row.get_by_role("link", name="the third").get_attribute("href"))
    other.get_by_role("link", name=re.compile("^(Cancel|Retry)$")).click()
    other.get_by_role("button", name="Yes, I").click()
    other.locator(".messagelist, [role=alert], .ts-headline").first.wait_for()
    page.bring_to_front()
    return other
