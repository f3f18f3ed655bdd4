"""Write the known differences into docs/reference/differences.rst: ``python -m tests.upstream.page``."""

from itertools import groupby

from tests.upstream import ROOT
from tests.upstream.differences import DATA, Difference, read

PAGE = ROOT / "docs/reference/differences.rst"
BEGIN, END = ".. {} begin\n", ".. {} end\n"
SUITES = {"django": "Django's tests", "celery": "Celery's tests"}


def table(suite: str) -> str:
    """Return the reasons of a suite's differences, each with its tests."""
    rows = [one for one in read(DATA.read_text()) if one.suite == suite]
    cells = "".join(_row(reason, list(found)) for reason, found in groupby(rows, lambda one: one.reason))
    header = "   * - why\n     - tests\n"
    return f".. list-table:: {SUITES[suite]}\n   :header-rows: 1\n   :widths: 40 60\n\n{header}{cells}"


def _row(reason: str, found: list[Difference]) -> str:
    names = "\n       ".join(f"| ``{one.test}``" for one in found)
    return f"   * - {reason}\n     - {names}\n"


def written(page: str) -> str:
    """Return the page with today's tables."""
    for suite in SUITES:
        begin, end = BEGIN.format(suite), END.format(suite)
        before, rest = page.split(begin)
        page = f"{before}{begin}\n{table(suite)}\n{end}{rest.split(end)[1]}"
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
