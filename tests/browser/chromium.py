"""A headless Chromium that is installed here, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PACKAGES = ("playwright", "axe_playwright_python")


def program() -> str | None:
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def missing() -> str:
    """Return why there is no browser to test with, or "" where there is one."""
    absent = [name for name in PACKAGES if find_spec(name) is None]
    if absent:
        return f"{' and '.join(absent)} not installed: pip install -e '.[browser]'"
    return "" if program() else f"none of {', '.join(PROGRAMS)} is installed"


@contextmanager
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    # Its sandbox refuses to run as root, as tests in containers do.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=arguments)
        yield browser
        browser.close()
