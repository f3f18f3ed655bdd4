"""The pages can be used by everybody: axe-core, narrow windows, large type, no mouse, no colours, no motion."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.accessibility import findings, overflow
from tests.browser.pages import add_note, copy

pytest.importorskip("axe_playwright_python", reason="pip install -e '.[browser]'")

from playwright.sync_api import expect

PAGES = ["/", "/orders/", "/operations/"]
NARROW, WIDE = 320, 1200


@pytest.fixture(scope="module")
def busy(browser: Any, demo: Any) -> None:
    """Something of everything to look at: a refused delete, what is deleted, what is done, an order."""
    page = browser.new_page(base_url=demo.address)
    page.goto("/")
    removed = add_note(page, "Looked at, and gone")
    removed.get_by_role("button", name="Delete").click()
    card = add_note(page, "Looked at")
    copy(card, 5)
    expect(card).to_contain_text("done")
    page.goto("/orders/")
    page.get_by_role("button", name="Order with a double click").click()
    page.close()


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Any, demo: Any, busy: None) -> Iterator[Any]:
    context = browser.new_context(base_url=demo.address, color_scheme=request.param)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_a_page_has_no_serious_finding_and_fits(page, path, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(path)
    assert findings(page) == []
    assert overflow(page) == 0


def test_a_refused_delete_with_progress_has_no_serious_finding(page):
    page.goto("/")
    card = page.get_by_role("article", name="Looked at", exact=True)
    copy(card, 150)
    card.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert findings(page) == []
    card.get_by_role("button", name="Cancel").click()
    expect(card).to_contain_text("cancelled")


def test_the_page_of_one_operation_has_no_serious_finding_and_fits(page):
    page.set_viewport_size({"width": NARROW, "height": 800})
    page.goto("/operations/")
    page.get_by_role("link", name="Copy Looked at 5 times").first.click()
    expect(page.get_by_role("heading", name="Copy Looked at 5 times")).to_be_visible()
    assert findings(page) == []
    assert overflow(page) == 0


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_in_twice_the_type(page, path):
    page.set_viewport_size({"width": 640, "height": 800})
    page.goto(path)
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert overflow(page) == 0


def test_a_note_is_copied_and_cancelled_by_keyboard_alone_and_the_focus_is_seen(page):
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    press_until(page, "Copy")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    page.wait_for_load_state()
    expect(page.get_by_role("progressbar")).to_be_visible()
    press_until(page, "Cancel")
    page.keyboard.press("Enter")
    expect(page.get_by_role("article", name="Shopping list")).to_contain_text("cancelled")


def press_until(page: Any, name: str) -> None:
    """Press Tab until the focus is on a button of this name."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.locator("button:focus", has_text=re.compile(f"^{name}")).count():
            return
    raise AssertionError(f"no button {name} is reached")


def test_whoever_wants_less_motion_gets_none(page):
    page.emulate_media(reduced_motion="reduce")
    page.goto("/")
    assert page.evaluate("getComputedStyle(document.querySelector('button')).transitionDuration") == "0s"
