"""Count what faults lose and repeat, of safe tasks and of their controls; `python -m tests.chaos --help`.

Every run has servers, workers and a process of its own. Ends with 1 where a safe task lost or repeated anything.
"""

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from tests.chaos import figures, page
from tests.chaos.faults import FAULTS
from tests.chaos.figures import Figures
from tests.chaos.ledger import Run


def main() -> None:
    # So that being terminated still stops the servers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = arguments()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    found = Figures(figures.environment(given.seed))
    if given.write and not given.anew:
        found = figures.read(found.environment)
    # Those last that take longest and say least.
    todo = sorted(plan(given), key=lambda run: run.variant.startswith("celery-") and run.fault == "kill")
    todo = [run for run in todo if found.row_of(run) is None]
    print(page.header(found.environment), page.COLUMNS, sep="\n", flush=True)
    with ThreadPoolExecutor(given.jobs) as pool:
        for row in pool.map(figures.measure, todo):
            print(page.line(row), flush=True)
            found.add(row)
            if given.write:
                figures.write(found)
    if given.write:
        page.write_all(found)
    sys.exit(any(row.counted and row.is_ours and row.counted.lost + row.counted.duplicated for row in found.rows))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--fault", action="append", choices=FAULTS, help="only this one (may be repeated)")
    parser.add_argument("--broker", action="append", choices=figures.BROKERS)
    parser.add_argument("--database", action="append", choices=figures.DATABASES)
    parser.add_argument("--calls", type=int, help="in each run (default: as many as the fault is meant for)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--controls", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--write", action="store_true", help="write the pages, and run only what they lack")
    parser.add_argument("--anew", action="store_true", help="run all, whatever the pages have")
    return parser.parse_args()


def plan(given: argparse.Namespace) -> Iterator[Run]:
    """Yield the runs that are asked for, those of safe tasks first."""
    for variant in figures.VARIANTS if given.controls else figures.VARIANTS[:1]:
        for run in figures.plan(variant, given.seed, given.calls):
            asked = (given.fault, given.broker, given.database)
            if all(names is None or name in names for names, name in zip(asked, run.place, strict=True)):
                yield run


main()
