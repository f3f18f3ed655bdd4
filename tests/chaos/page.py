"""The ledger as text: a line on the terminal, the page docs/reference/figures.rst, and a table in README.md."""

from collections.abc import Sequence
from pathlib import Path

from tests.chaos import figures
from tests.chaos.faults import FAULTS
from tests.chaos.figures import Figures, Row

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs/reference/figures.rst"
README = ROOT / "README.md"
BEGIN, END = "<!-- figures begin -->\n", "<!-- figures end -->\n"
NUMBERS = ("times", "attempted", "acknowledged", "lost", "duplicated", "recovered", "interrupted")
COLUMNS = f"{'fault':20}{'broker':10}{'database':12}{'task':18}" + "".join(f"{name:>13}" for name in NUMBERS)


def header(environment: dict[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in environment.items())


def line(row: Row) -> str:
    """Return the row as the terminal shows it."""
    run = row.run
    start = f"{run.fault:20}{run.broker:10}{run.database:12}{run.variant:18}"
    if row.counted is None:
        return f"{start} skipped: {row.skipped}"
    counts = "".join(f"{getattr(row.counted, name):13}" for name in NUMBERS)
    return f"{start}{counts}  ({row.counted.seconds:.0f} s)"


def write_all(found: Figures) -> None:
    PAGE.write_text(rst(found))
    README.write_text(readme(README.read_text(), found))


def readme(text: str, found: Figures) -> str:
    """Return the text with today's table."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}{summary(found)}{END}{rest.split(END)[1]}"


def summary(found: Figures) -> str:
    """Return the smallest table, in Markdown."""
    header, *rows = _summary(found)
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _summary(found: Figures) -> list[list[str]]:
    """Return what all kills, and all other faults, made of each kind of task, under a header."""
    others = f"calls under {len(FAULTS) - 1} other faults"
    cells = [["task", "calls under kills", "lost", "done twice", others, "lost", "done twice"]]
    for variant in figures.VARIANTS:
        rows = [row for row in found.rows if row.run.variant == variant]
        kills = [row for row in rows if row.run.fault == "kill"]
        cells.append([variant, *_sums(kills), *_sums([row for row in rows if row not in kills])])
    return cells


def _sums(rows: Sequence[Row]) -> list[str]:
    counted = [row.counted for row in rows if row.counted]
    if not counted:
        return ["not run", "-", "-"]
    return [f"{sum(getattr(one, name) for one in counted):,}" for name in ("acknowledged", "lost", "duplicated")]


def rst(found: Figures) -> str:
    """Return the page."""
    circumstances = "\n".join(f":{name}: {value}" for name, value in found.environment.items())
    tables = "\n".join(_fault(found, fault) for fault in FAULTS)
    seed = found.environment.get("seed", "1")
    return PAGE_TEXT.format(circumstances=circumstances, summary=_table(_summary(found)), tables=tables, seed=seed)


def _fault(found: Figures, fault: str) -> str:
    """Return the section of a fault."""
    cells = [["broker", "database", "task", *NUMBERS]]
    rows = {(row.run.place, row.run.variant): row for row in found.rows}
    planned = [run for variant in figures.VARIANTS for run in figures.plan(variant, seed=0) if run.fault == fault]
    for run in sorted(planned, key=lambda run: FAULTS[fault].settings.index(run.place[1:])):
        cells.append([run.broker, run.database, run.variant, *_counts(rows.get((run.place, run.variant)))])
    title = f"``{fault}``"
    return f"{title}\n{'~' * len(title)}\n\n{FAULTS[fault].about}.\n\n{_table(cells)}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    body = "".join(f"   * - {row[0]}\n" + "".join(f"     - {cell}\n" for cell in row[1:]) for row in rows)
    return f".. list-table::\n   :header-rows: 1\n\n{body}"


def _counts(row: Row | None) -> list[str]:
    if row is None or row.counted is None:
        reason = f"skipped: {row.skipped}" if row else "not run"
        return [reason, *["-"] * (len(NUMBERS) - 1)]
    return [f"{getattr(row.counted, name):,}" for name in NUMBERS]


PAGE_TEXT = """\
Figures
=======

What faults lose and repeat, of the same work done by an idempotent task and by its controls. ``python -m tests.chaos``
measures it anew, on servers and workers of its own, and writes this page with ``--write``.

.. code-block:: shell

   python -m tests.chaos --seed {seed} --write

``tox -e chaos`` installs the libraries as well; without them, or without a server, what needs them is skipped by name.

{circumstances}

{summary}
How it is counted
-----------------

Each call has a key of its own, and its task leaves two traces in a transaction, which are counted. Two workers with two
processes each run them, while the fault strikes in the middle of bodies, at points that the seed decides. Then all
workers are replaced, everything is drained and swept, and when the broker has no message left and nothing has begun for
eight seconds, it is counted.

times
    How often the fault struck.
attempted, acknowledged
    Keys for which a call was made, and those whose call returned without an error.
lost
    Acknowledged keys whose work was not done.
duplicated
    Keys whose work was done more than once.
recovered
    Keys whose call raised an error, and whose work was done nevertheless.
interrupted
    Attempts that began and left nothing, since they were stopped, fenced or rolled back.

The controls get the same calls and the same faults. All of them run in a transaction, prefetch one message for each
process, and retry the database's errors with a backoff; all but the first acknowledge late, with
``reject_on_worker_lost``. Redis has a visibility timeout of five seconds and looks each second for messages to deliver
again; RabbitMQ's publishers wait for confirms. The libraries have their locks in Redis, with keys made of the same
argument, and ten minutes until a lock expires. A lock is no promise that work is done once in all, and those who wrote
them do not say so: what they are measured for here is what they are often taken for.

{tables}"""
