"""The table at the end, and what it proves."""

from collections.abc import Mapping

from notes.story.count import Tally

#: The troubles in the order of the table.
HAZARDS = {
    "twice": "message published twice",
    "clicks": "double click",
    "killed": "worker killed in the middle of a payment",
    "torn": "worker killed in the middle of copying",
    "cancelled": "cancelled in the queue, then worker lost",
    "outage": "broker stopped while ordering",
    "edited": "note edited while its copying is queued",
    "deleted": "note deleted while ten copies of it are queued",
    "published": "note deleted while it waits to be published",
    "archived": "note deleted while it waits to be archived",
    "proofread": "note deleted while a worker is about to save it",
    "imported": "note imported twice at once",
    "busy": "bank busy at first",
    "unanswered": "bank charged, its answer was lost",
    "declined": "user told 'confirmed', then card declined",
    "usual": "none of these: orders",
    "notes": "none of these: notes",
    "scores": "the users' scores, after all that",
    "pending": "left for ever without an outcome",
}
_HEAD = ("hazard", "input", "plain Celery", "django-task-safety", "verdict")


def table(inputs: Mapping[str, str], plain: Mapping[str, Tally], safe: Mapping[str, Tally]) -> str:
    """Return the table as text, a line for each hazard."""
    rows = [
        (HAZARDS[name], inputs[name], _outcome(plain[name]), _outcome(safe[name]), _verdict(safe[name]))
        for name in HAZARDS
    ]
    widths = [max(map(len, column)) for column in zip(_HEAD, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in (_HEAD, rule, *rows)
    )


def _outcome(tally: Tally) -> str:
    return ", ".join(f"{number} {what}" for what, number in tally.items() if number) or "all right"


def _verdict(safe: Tally) -> str:
    return "BROKEN" if any(safe.values()) else "holds"


def conclusion(plain: Mapping[str, Tally], safe: Mapping[str, Tally]) -> tuple[int, str]:
    """Return the exit code and the sentence that goes with it."""
    broken = [text for name, text in HAZARDS.items() if any(safe[name].values())]
    if broken:
        return 1, f"django-task-safety BROKE a guarantee: {'; '.join(broken)}."
    if not any(any(tally.values()) for tally in plain.values()):
        return 2, "Plain Celery lost and doubled nothing this time, so this run proves nothing. Run it again."
    return 0, "Every guarantee held where plain Celery, on the same input, lost and doubled work."
