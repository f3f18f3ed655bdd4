"""Everything works in a browser that runs no script: what happens meanwhile is there after a reload."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.pages import SOON, add_note, copy
from tests.support.workers import until

pytest.importorskip("playwright", reason="pip install -e '.[browser]'")

from playwright.sync_api import expect


@pytest.fixture
def page(browser: Any, demo: Any) -> Iterator[Any]:
    context = browser.new_context(base_url=demo.address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    yield page
    context.close()


def after_reloads(page: Any, locator: Any, text: str) -> None:
    def seen() -> bool:
        page.reload()
        return text in locator.inner_text()

    until(seen, SOON / 1000)


def test_a_note_is_copied_kept_and_deleted_without_script(page):
    card = add_note(page, "No script")
    copy(card, 80)
    card.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_contain_text("ObjectLocked")
    after_reloads(page, card, "done")
    expect(card).to_contain_text("80 copies")
    card.get_by_role("button", name="Delete").click()
    expect(card).to_have_count(0)
    page.get_by_role("button", name="Restore No script").click()
    expect(card).to_be_visible()


def test_an_order_is_paid_without_script(page):
    page.get_by_role("link", name="Orders").click()
    page.get_by_role("button", name="Order with a double click").click()
    after_reloads(page, page.locator("#orders tbody tr").first, "charged once")
