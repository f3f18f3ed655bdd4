"""The admin of operations can be used by everybody, and keeps itself up to date."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.accessibility import findings, overflow
from tests.browser.pages import add_note, copy

pytest.importorskip("axe_playwright_python", reason="pip install -e '.[browser]'")

from playwright.sync_api import expect

NUMBERS = itertools.count()
LIST = "/admin/django_task_safety/operation/"
#: Of 1,280 pixels: at 200 % half of them.
WIDTHS = [320, 640, 1280]


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Any, demo: Any) -> Iterator[Any]:
    """The admin, entered."""
    context = browser.new_context(base_url=demo.address, color_scheme=request.param)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda problem: problems.append(str(problem)))
    page.goto("/")
    page.get_by_role("button", name="Admin").click()
    expect(page.get_by_role("heading", name="Site administration")).to_be_visible()
    yield page
    context.close()
    assert problems == []


def ask_for_copies(page: Any, title: str, copies: int) -> Any:
    """Add a note in another tab, and copy it."""
    other = page.context.new_page()
    other.goto("/")
    # Each is tested twice, in light and in dark.
    copy(add_note(other, f"{title} {next(NUMBERS)}"), copies)
    return other


def looks_good(page: Any) -> None:
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        assert findings(page) == []
        assert overflow(page) == 0, (page.url, width)


def test_the_pages_of_operations_have_no_serious_finding_and_fit(page):
    ask_for_copies(page, "Looked at in the admin", 100)
    page.goto(LIST)
    looks_good(page)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(f"{LIST}?queue=none")
    looks_good(page)
    page.goto(LIST)
    page.locator("#result_list tbody th a").first.click()
    looks_good(page)
    cancel = page.get_by_role("link", name="Cancel")
    if cancel.count():
        cancel.click()
        looks_good(page)
    page.goto("/admin/django_task_safety/worker/")
    looks_good(page)


def test_an_object_shows_what_is_pending_and_its_refused_delete_has_a_button(page):
    other = ask_for_copies(page, "Held", 1000)
    page.goto("/admin/notes/note/")
    page.get_by_role("link", name="Held").first.click()
    expect(page.get_by_role("heading", name="Pending operations")).to_be_visible()
    looks_good(page)
    page.goto(page.url.replace("change", "delete"))
    button = page.get_by_role("button", name="Cancel these operations and delete")
    expect(button).to_be_visible()
    looks_good(page)
    button.click()
    expect(page.get_by_text("was deleted successfully")).to_be_visible()
    other.close()


def test_the_list_keeps_itself_up_to_date_but_not_while_something_is_ticked(page):
    page.clock.install()
    page.goto(LIST)
    rows = page.locator("#result_list tbody tr")
    newer, newest = f"Newer {next(NUMBERS)}", f"Newest {next(NUMBERS)}"
    ask_for_copies(page, newer, 1)
    page.bring_to_front()
    expect(rows.first).to_contain_text(newer)
    # Django's script knows the new rows.
    rows.first.get_by_role("checkbox").check()
    expect(page.locator(".action-counter").first).to_have_text(f"1 of {rows.count()} selected")
    ask_for_copies(page, newest, 1)
    page.bring_to_front()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.fast_forward(60_000)
    assert asked == []
    rows.first.get_by_role("checkbox").uncheck()
    page.locator("h1").click()
    expect(rows.first).to_contain_text(newest)


def test_the_page_of_workers_and_queues_keeps_itself_up_to_date(page):
    page.clock.install()
    page.goto("/admin/django_task_safety/worker/")
    done = page.locator(".ts-counts div", has_text="Succeeded").locator("dd")
    before = int(done.inner_text())
    other = ask_for_copies(page, "Counted", 1)
    expect(other.get_by_role("article", name="Counted").first).to_contain_text("done")
    page.bring_to_front()
    page.clock.fast_forward(60_000)
    expect(done).not_to_have_text(str(before))


def test_an_operation_is_cancelled_by_keyboard_alone(page):
    other = ask_for_copies(page, "Cancelled by keyboard", 200)
    page.goto(f"{LIST}?state=running")
    page.locator("#result_list tbody th a").first.focus()
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Cancel").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Reason").focus()
    page.keyboard.type("not needed")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 cancelled.")).to_be_visible()
    expect(page.locator(".ts-headline")).to_contain_text("Cancelled")
    other.close()
