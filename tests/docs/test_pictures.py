"""The pictures of the example."""

import re

from tests.browser.screenshots import PICTURES
from tests.docs.pages import DOCS, ROOT

#: Bytes that one may have, for every checkout carries it.
LARGEST = 100_000


def test_the_pictures_are_those_that_the_command_takes_and_each_is_small_and_shown():
    pages = [ROOT / "README.md", *DOCS.rglob("*.rst")]
    shown = {name for page in pages for name in re.findall(r"images/([\w-]+)\.png", page.read_text())}
    taken = {picture.stem: picture.stat().st_size for picture in (DOCS / "images").glob("*.png")}
    assert shown == taken.keys() == PICTURES.keys()
    assert [name for name, size in taken.items() if size > LARGEST] == []
