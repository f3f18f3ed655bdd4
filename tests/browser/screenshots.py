"""Take the pictures of README and docs: ``python -m tests.browser.screenshots`` writes them into docs/images."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.browser.chromium import chromium
from tests.browser.demo import Demo
from tests.browser.pages import copy
from tests.docs.pages import DOCS

IMAGES = DOCS / "images"
WIDE = {"width": 1000, "height": 620}
TALL = {"width": 1000, "height": 900}
PHONE = {"width": 360, "height": 760}


def notes(page: Any) -> None:
    """A copying halfway, and a delete that it refuses."""
    from playwright.sync_api import expect

    page.goto("/")
    card = page.get_by_role("article", name="Shopping list")
    copy(card, 200)
    expect(card.get_by_role("progressbar")).to_have_attribute("value", re.compile("[4-6]."))
    card.get_by_role("button", name="Delete").click()


def orders(page: Any) -> None:
    """Each kind of harm, and what the bank counts then."""
    from playwright.sync_api import expect

    newest = page.locator("#orders tbody tr").first
    page.goto("/orders/")
    for button in ("Order with a double click", "Order, delivered twice", "Order, and kill the worker"):
        page.get_by_role("button", name=button).click()
        expect(newest).to_contain_text("done")
        expect(newest.locator("td").last).to_have_text("charged twice")
    page.evaluate("window.scrollTo(0, document.querySelector('#new').offsetTop - 40)")


def phone(page: Any) -> None:
    """The same on a phone, at night."""
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="dark")
    page.goto("/orders/")
    page.get_by_role("heading", name="The newest orders").scroll_into_view_if_needed()
    page.evaluate("window.scrollTo(0, document.querySelector('#newest').offsetTop - 16)")


def admin_list(page: Any) -> None:
    """Without the bar at the side, which is Django's."""
    page.add_init_script("localStorage.setItem('django.admin.navSidebarIsOpen', 'false')")
    page.goto("/")
    page.get_by_role("button", name="Admin").click()
    page.goto("/admin/django_task_safety/operation/")


def admin_detail(page: Any) -> None:
    """The payment whose worker was killed."""
    page.set_viewport_size(TALL)
    admin_list(page)
    page.locator("#result_list tbody tr", has_text="Charge Order").first.get_by_role("link").first.click()


#: The pictures in the order in which they are taken, each on what the ones before have left.
PICTURES: dict[str, Callable[[Any], None]] = {
    "demo-notes": notes,
    "demo-orders": orders,
    "demo-phone": phone,
    "admin-operations": admin_list,
    "admin-operation": admin_detail,
}


def take(folder: Path) -> None:
    """Write all pictures into a folder."""
    from playwright.sync_api import expect

    expect.set_options(timeout=60_000)
    with tempfile.TemporaryDirectory() as temporary, Demo(Path(temporary)) as demo, chromium() as browser:
        for name, prepare in PICTURES.items():
            page = browser.new_page(base_url=demo.address, viewport=WIDE, reduced_motion="reduce")
            prepare(page)
            page.screenshot(path=folder / f"{name}.png")
            page.close()


if __name__ == "__main__":
    take(IMAGES)
