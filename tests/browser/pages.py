"""What a visitor does on the pages of the demonstration."""

from typing import Any

#: Milliseconds until a worker has done it, even if another one has to be started first.
SOON = 25_000


def add_note(page: Any, title: str) -> Any:
    """Add a note, and return its card."""
    page.get_by_label("Title").fill(title)
    page.get_by_role("button", name="Add").click()
    return page.get_by_role("article", name=title, exact=True)


def copy(card: Any, copies: int, meanwhile: str = "refuse the delete") -> None:
    """Copy a note in the background."""
    card.get_by_label("Copies").fill(str(copies))
    card.get_by_label("If it is deleted meanwhile").select_option(meanwhile)
    card.get_by_role("button", name="Copy").click()
