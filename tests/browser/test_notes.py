"""The page of notes: they are copied, deleted and restored, while workers are killed and the broker is stopped."""

import re

import pytest

from tests.browser.pages import add_note, copy
from tests.support.workers import until

pytest.importorskip("playwright", reason="pip install -e '.[browser]'")

from playwright.sync_api import expect


def test_a_copying_shows_its_progress_without_a_reload_until_it_is_done(page):
    card = add_note(page, "Live")
    copy(card, 60)
    expect(card.get_by_role("progressbar")).to_have_attribute("value", re.compile(r"[1-9]\d?"))
    expect(card).to_contain_text("done")
    page.reload()
    expect(card.locator(".facts")).to_contain_text(re.compile(r"^60 copies"))


def test_a_delete_is_refused_while_the_note_is_copied_and_says_what_holds_it(page):
    card = add_note(page, "Held")
    copy(card, 100)
    card.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_contain_text("ObjectLocked")
    expect(page.get_by_role("alert")).to_contain_text("Copy Held 100 times")
    expect(card).to_be_visible()


def test_what_is_cancelled_leaves_no_copies(page):
    card = add_note(page, "Cancelled")
    copy(card, 500)
    card.get_by_role("button", name="Cancel").click()
    expect(card).to_contain_text("cancelled")
    expect(card.locator(".facts")).to_contain_text(re.compile(r"^0 copies"))


def test_a_delete_that_cancels_the_copying_is_undone_by_restoring_the_note(page):
    card = add_note(page, "Restored")
    copy(card, 500, "cancel the copying")
    card.get_by_role("button", name="Delete").click()
    expect(card).to_have_count(0)
    page.get_by_role("button", name="Restore Restored").click()
    expect(card.locator(".facts")).to_contain_text(re.compile(r"^0 copies"))
    expect(card).to_contain_text("cancelled")


def test_a_copying_whose_worker_is_killed_is_done_by_the_next_one_and_only_once(page, demo):
    card = add_note(page, "Killed")
    killed = demo.worker
    copy(card, 100)
    expect(card).to_contain_text("running")
    page.get_by_role("button", name="Kill the worker").click()
    until(lambda: demo.worker != killed)
    expect(card).to_contain_text("done")
    page.reload()
    expect(card.locator(".facts")).to_contain_text(re.compile(r"^100 copies"))


def test_what_is_asked_for_while_the_broker_is_stopped_is_done_after_it_is_started(page):
    page.get_by_role("button", name="Stop the broker").click()
    try:
        card = add_note(page, "Offline")
        copy(card, 10)
        expect(page.get_by_text("Plain Celery could not be told")).to_be_visible()
        expect(card).to_contain_text("waiting")
    finally:
        page.get_by_role("button", name="Start the broker").click()
    expect(card).to_contain_text("done")
    page.reload()
    expect(card.locator(".facts")).to_contain_text(re.compile(r"^10 copies"))
