"""Draw the documentation's diagrams as SVG: ``python -m tests.docs.drawings`` writes them into docs/images."""

from collections.abc import Iterator, Sequence
from html import escape

from tests.docs.pages import DOCS

IMAGES = DOCS / "images"

STYLE = """
  .paper { fill: #ffffff; }
  .box { fill: #eef3fb; stroke: #3b6ea8; stroke-width: 1.5; }
  .end { fill: #f3f3f3; stroke: #6b6b6b; stroke-width: 1.5; }
  .line { fill: none; stroke: #3b6ea8; stroke-width: 1.5; }
  .life { stroke: #9aa7b8; stroke-dasharray: 4 4; }
  .tip { fill: #3b6ea8; }
  .note { fill: #fff4d6; stroke: #b58900; }
  text { font: 13px system-ui, sans-serif; fill: #1f2933; }
  .state { font-weight: 600; }
  .small { font-size: 12px; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #131416; }
    .box { fill: #1d2b3d; stroke: #7fb0ea; }
    .end { fill: #26282c; stroke: #a0a4ab; }
    .line { stroke: #7fb0ea; }
    .life { stroke: #5d6877; }
    .tip { fill: #7fb0ea; }
    .note { fill: #3a3112; stroke: #d7ab2e; }
    text { fill: #e4e7eb; }
  }
"""
TIP = (
    '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto-start-reverse">'
)
TIP += '<path class="tip" d="M0 0 8 4 0 8z"/></marker>'

TIP_END = ' marker-end="url(#tip)"'

#: Who takes part, and what passes between them: from, to, what; or at whom, a note.
Step = tuple[int, int, str]
SEQUENCES: dict[str, tuple[str, Sequence[str], Sequence[Step]]] = {
    "call": (
        "From a call to its outcome",
        ("web request", "database", "broker", "worker"),
        (
            (0, 1, "BEGIN; the caller's writes"),
            (0, 1, "enqueue: INSERT, QUEUED"),
            (0, 1, "COMMIT"),
            (0, 2, "publish the message"),
            (2, 3, "deliver"),
            (3, 1, "claim: UPDATE to RUNNING, new token"),
            (3, 1, "BEGIN; the body's writes"),
            (3, 1, "settle: UPDATE to SUCCEEDED, if the token is mine"),
            (3, 1, "COMMIT"),
            (3, 2, "acknowledge"),
        ),
    ),
    "duplicate": (
        "A message is delivered twice",
        ("broker", "worker A", "worker B", "database"),
        (
            (0, 1, "deliver"),
            (1, 3, "claim: the row is mine"),
            (0, 2, "deliver the copy"),
            (2, 3, "claim: 0 rows, it is running"),
            (2, 0, "acknowledge: its owner answers for it"),
            (1, 3, "settle and COMMIT"),
            (0, 2, "deliver another copy"),
            (2, 3, "claim: 0 rows, it has succeeded"),
            (2, 0, "acknowledge, with the stored result"),
        ),
    ),
    "crash": (
        "A worker is killed",
        ("database", "worker A", "worker B", "broker"),
        (
            (1, 0, "claim: lease of 30 s, token 1"),
            (1, 0, "BEGIN; the body's writes"),
            (1, 1, "killed: the database rolls back"),
            (2, 0, "sweep: the lease ran out, QUEUED again"),
            (2, 3, "publish again"),
            (3, 2, "deliver"),
            (2, 0, "claim: token 2"),
            (2, 0, "the body's writes, settle, COMMIT"),
            (1, 0, "A wakes up: settle, token 1"),
            (0, 1, "0 rows: roll everything back"),
        ),
    ),
}
#: States by where they stand, and arrows: their path, where their names begin, and these.
STATES = {
    "QUEUED": (150, 84),
    "RUNNING": (550, 84),
    "CANCELLED": (150, 330),
    "FAILED": (550, 330),
    "SUCCEEDED": (800, 330),
}
_AGAIN = "rerun, rerun_chunks, from each state that has ended; a parent, by reopen_parent, to RUNNING"
ARROWS: Sequence[tuple[str, tuple[float, float], Sequence[str]]] = (
    ("M150 16 V60", (160, 36), ("enqueue",)),
    ("M130 60 C120 10 50 20 88 68", (6, 20), ("replace_arguments",)),
    ("M210 74 H488", (330, 66), ("claim",)),
    ("M490 96 H212", (300, 116), ("requeue, rescue",)),
    ("M580 60 C600 16 660 30 612 70", (650, 40), ("claim, when its lease ran out",)),
    ("M610 94 H800 V304", (660, 116), ("settle, finish (replaced),", "settle_parent")),
    ("M550 108 V304", (560, 200), ("finish, discard_exhausted,", "discard_unsweepable")),
    ("M130 108 V304", (138, 216), ("cancel,", "cancel_with_object")),
    ("M500 108 L205 305", (232, 262), ("cancel, finish",)),
    ("M190 108 L495 305", (190, 150), ("discard_exhausted,", "discard_unsweepable")),
    ("M800 354 V392 H24 V84 H88", (170, 410), (_AGAIN,)),
    ("M550 354 V392", (0, 0), ()),
    ("M150 354 V392", (0, 0), ()),
)


def svg(title: str, width: int, height: int, parts: Iterator[str]) -> str:
    body = "\n".join(parts)
    named = f'role="img" aria-label="{escape(title)}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {named}>\n'
        f"<style>{STYLE}</style>\n<defs>{TIP}</defs>\n"
        f'<rect class="paper" width="{width}" height="{height}" rx="8"/>\n{body}\n</svg>\n'
    )


def text(x: float, y: float, said: str, kind: str = "", anchor: str = "middle") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(said)}</text>'


def sequence(actors: Sequence[str], steps: Sequence[Step]) -> Iterator[str]:
    """Yield a column for each who takes part, and an arrow for each step, from the top down."""
    column = [110 + 200 * number for number in range(len(actors))]
    bottom = 80 + 44 * len(steps)
    for x, name in zip(column, actors, strict=True):
        yield f'<line class="life" x1="{x}" y1="48" x2="{x}" y2="{bottom}"/>'
        yield f'<rect class="box" x="{x - 70}" y="16" width="140" height="32" rx="6"/>'
        yield text(x, 37, name, "state")
    for number, (start, end, said) in enumerate(steps):
        y = 88 + 44 * number
        if start == end:
            yield f'<rect class="note" x="{column[start] - 112}" y="{y - 18}" width="224" height="26" rx="4"/>'
            yield text(column[start], y, said, "small")
            continue
        yield from ground((column[start] + column[end] - 6.2 * len(said)) / 2, y - 6, said)
        yield f'<path class="line" d="M{column[start]} {y} H{column[end]}"{TIP_END}/>'


def ground(x: float, y: float, said: str) -> Iterator[str]:
    """Yield a text with paper under it, since it may cross a line."""
    yield f'<rect class="paper" x="{x - 2:g}" y="{y - 12:g}" width="{6.2 * len(said) + 4:g}" height="15"/>'
    yield text(x, y, said, "small", "start")


def machine() -> Iterator[str]:
    """Yield the states and the transitions between them."""
    for path, _, said in ARROWS:
        yield f'<path class="line" d="{path}"{TIP_END if said else ""}/>'
    for _, (x, y), said in ARROWS:
        for number, line in enumerate(said):
            yield from ground(x, y + 15 * number, line)
    for name, (x, y) in STATES.items():
        kind = "box" if name in {"QUEUED", "RUNNING"} else "end"
        yield f'<rect class="{kind}" x="{x - 60}" y="{y - 24}" width="120" height="48" rx="8"/>'
        yield text(x, y + 5, name, "state")


def drawings() -> dict[str, str]:
    """Return each file's name and content."""
    made = {"states.svg": svg("States and transitions", 880, 424, machine())}
    for name, (title, actors, steps) in SEQUENCES.items():
        width, height = 20 + 200 * len(actors), 100 + 44 * len(steps)
        made[f"{name}.svg"] = svg(title, width, height, sequence(actors, steps))
    return made


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    for name, content in drawings().items():
        (IMAGES / name).write_text(content)
