"""Tests in this folder look at real pages in a real browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import chromium, missing
from tests.browser.demo import Demo
from tests.browser.pages import SOON


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker("live")


@pytest.fixture(autouse=True)
def _on_sqlite(pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("db") != "sqlite":
        pytest.skip("the demonstration brings its own database, SQLite")


# No longer than these tests: while Playwright runs, Django takes this thread for one of asyncio's.
@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    if reason := missing():
        pytest.skip(reason)
    from playwright.sync_api import expect

    # The machine may have others to serve.
    expect.set_options(timeout=SOON)
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with Demo(tmp_path_factory.mktemp("demo")) as demo:
        yield demo


@pytest.fixture
def page(browser: Any, demo: Demo) -> Iterator[Any]:
    """The demonstration's first page, for a visitor who has not been here before."""
    context = browser.new_context(base_url=demo.address)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda problem: problems.append(str(problem)))
    page.goto("/")
    yield page
    context.close()
    assert problems == []
