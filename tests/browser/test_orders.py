"""The page of orders: each is charged once, whatever harm is done, where plain Celery charges twice or never."""

from typing import Any

import pytest

from tests.browser.pages import SOON

pytest.importorskip("playwright", reason="pip install -e '.[browser]'")

from playwright.sync_api import expect


@pytest.fixture
def orders(page: Any) -> Any:
    page.get_by_role("link", name="Orders").click()
    return page


def newest(page: Any) -> Any:
    return page.locator("#orders tbody tr").first


def wait_for_a_worker(page: Any) -> None:
    expect(page.get_by_text("Worker: running")).to_be_visible(timeout=SOON)


def test_an_order_that_is_double_clicked_is_charged_once(orders):
    number = orders.locator("input[name=number]").input_value()
    orders.get_by_role("button", name="Order", exact=True).dblclick()
    expect(newest(orders)).to_contain_text(number)
    expect(newest(orders)).to_contain_text("done")
    expect(newest(orders).locator("td").nth(2)).to_have_text("charged once")
    expect(orders.locator("#orders").get_by_text(number)).to_have_count(1)


@pytest.mark.parametrize("harm", ["Order with a double click", "Order, delivered twice"])
def test_an_order_that_is_sent_twice_is_charged_once_and_on_plain_celery_twice(orders, harm):
    orders.get_by_role("button", name=harm).click()
    expect(newest(orders).locator("td").nth(3)).to_have_text("charged twice")
    expect(newest(orders)).to_contain_text("done")
    expect(newest(orders).locator("td").nth(2)).to_have_text("charged once")


def test_an_order_whose_worker_is_killed_while_it_pays_is_charged_once_and_on_plain_celery_twice(orders):
    wait_for_a_worker(orders)
    orders.get_by_role("button", name="Order, and kill the worker").click()
    expect(newest(orders)).to_contain_text("attempt 2")
    expect(newest(orders).locator("td").nth(2)).to_have_text("charged once")
    expect(newest(orders).locator("td").nth(3)).to_have_text("charged twice")


def test_an_order_that_is_cancelled_while_the_broker_is_stopped_is_never_charged(orders):
    orders.get_by_role("button", name="Stop the broker").click()
    try:
        orders.get_by_role("button", name="Order", exact=True).click()
        newest(orders).get_by_role("button", name="Cancel").click()
        expect(newest(orders)).to_contain_text("Cancelled")
    finally:
        orders.get_by_role("button", name="Start the broker").click()
    expect(newest(orders).locator("td").nth(2)).to_have_text("charged never")


def test_an_order_whose_card_is_declined_is_taken_back_where_plain_celery_leaves_it_confirmed(orders):
    orders.get_by_label("Card").select_option("declined")
    orders.get_by_role("button", name="Order", exact=True).click()
    expect(newest(orders)).to_contain_text("failed")
    expect(newest(orders).locator("td").nth(0)).to_have_text("Declined")
