"""The tables of the figures are those of what was measured."""

from tests.chaos import figures, page


def test_the_page_of_the_figures_is_the_one_that_its_command_writes():
    assert page.PAGE.read_text() == page.rst(figures.read())


def test_the_table_of_the_readme_is_the_one_that_the_command_writes():
    text = page.README.read_text()
    assert text == page.readme(text, figures.read())


def test_what_was_measured_says_on_what():
    assert {"seed", "versions", "machine"} == figures.read().environment.keys()
