"""What axe-core finds on a page."""

from typing import Any

#: What keeps somebody from using a page.
GRAVE = {"serious", "critical"}


def findings(page: Any) -> list[str]:
    """Return axe-core's serious and critical findings, each with the elements that it is about."""
    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page).response["violations"]
    return [
        f"{violation['id']}: {violation['help']}: {', '.join(node['html'] for node in violation['nodes'])}"
        for violation in violations
        if violation["impact"] in GRAVE
    ]


def overflow(page: Any) -> int:
    """Return by how many pixels the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
