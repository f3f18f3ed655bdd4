"""Keep the translations: ``python -m tests.translating`` adds what is new to each catalogue, and compiles them."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

PACKAGE = Path(__file__).parent.parent / "django_task_safety"
CATALOGUES = sorted(PACKAGE.glob("locale/*/LC_MESSAGES/django.po"))
#: Django's names for gettext's functions, besides those that Babel knows.
_OURS = {"gettext_lazy": None, "ngettext_lazy": (1, 2), "pgettext_lazy": ((1, "c"), 2), "gettext_noop": None}
KEYWORDS = {**DEFAULT_KEYWORDS, **_OURS}


def template() -> Catalog:
    """Return the catalogue of all texts in the package's modules and templates."""
    found = Catalog()
    for source in _sources():
        for _, message, _, context in extract("python", BytesIO(source.encode()), keywords=KEYWORDS):
            flags = ("python-format",) if "%(" in str(message) else ()
            found.add(message, context=context, flags=flags)
    return found


def _sources() -> Iterator[str]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.read_text()
    for path in sorted(PACKAGE.glob("templates/**/*.html")):
        yield templatize(path.read_text(), origin=str(path))


def read(path: Path) -> Catalog:
    """Return a catalogue."""
    with path.open("rb") as file:
        return read_po(file, locale=path.parent.parent.name)


def compiled(catalogue: Catalog) -> bytes:
    """Return what Django reads."""
    written = BytesIO()
    write_mo(written, catalogue)
    return written.getvalue()


def update(path: Path) -> None:
    """Add what is new, drop what is gone, and compile."""
    catalogue = read(path)
    catalogue.update(template(), no_fuzzy_matching=True, update_creation_date=False)
    catalogue.obsolete.clear()
    with path.open("wb") as file:
        write_po(file, catalogue, width=110, no_location=True, sort_output=True)
    path.with_suffix(".mo").write_bytes(compiled(read(path)))


if __name__ == "__main__":
    for one in CATALOGUES:
        update(one)
