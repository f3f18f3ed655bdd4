"""Write how large each part of the package is into docs/explanation/layout.rst: ``python -m tests.docs.sizes``."""

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "django_task_safety"
PAGE = ROOT / "docs/explanation/layout.rst"
BEGIN, END = ".. sizes begin\n", ".. sizes end\n"


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def sizes() -> dict[str, int]:
    """Return the lines of each folder of the package, of the single modules together, and of all."""
    found = {}
    for folder in sorted(path for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"):
        if count := sum(lines(path) for path in folder.rglob("*.py")):
            found[f"``{folder.name}``"] = count
    found["single modules"] = sum(lines(path) for path in PACKAGE.glob("*.py"))
    return {**dict(sorted(found.items(), key=lambda item: -item[1])), "all": sum(found.values())}


def table() -> str:
    rows = "".join(f"   * - {name}\n     - {count:,}\n" for name, count in sizes().items())
    return f".. list-table:: The parts\n   :header-rows: 1\n   :widths: 40 20\n\n   * - part\n     - lines\n{rows}"


def written(page: str) -> str:
    """Return the page with today's table."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
