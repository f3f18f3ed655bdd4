"""Each rule finds the bad example of its place in the reference, and is silent on the good one."""

import re
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from django_task_safety.linting.report import IDLE, UNFOUNDED, UNREADABLE, Finding, lint
from django_task_safety.linting.rules import RULES
from tests.celery import app
from tests.docs.pages import page, table

SECTION = re.compile(r"^\.\. _lint\.(L\d{3}):\n\n\1: ([^\n]+)\n~+\n(.*?)(?=^\.\. _lint\.|\Z)", re.MULTILINE | re.DOTALL)
CODE = r"{}[:.]\n\n\.\. code:: python\n\n((?:\n|[ ]+.*\n)+)"


class Section(NamedTuple):
    title: str
    bad: str
    good: str


def example(section: str, kind: str) -> str:
    found = re.search(CODE.format(kind), section, re.MULTILINE)
    assert found, f"no {kind} example"
    return textwrap.dedent(found[1])


SECTIONS = {
    found[1]: Section(found[2], example(found[3], "Bad"), example(found[3], "Good"))
    for found in SECTION.finditer(page("reference/lint"))
}
#: With what all of them begin.
START = example(page("reference/lint").partition("All examples below")[2], r"[^\n]*")


@pytest.fixture
def said(tmp_path: Path, settings: Any):
    # The rule about update_state() is about those result tables only.
    settings.CELERY_RESULT_BACKEND = "django-db"
    app.set_current()

    def of(code: str) -> list[Finding]:
        path = tmp_path / "tasks.py"
        path.write_text(START + code)
        compile(path.read_text(), str(path), "exec")
        return lint([path])

    return of


def test_each_rule_has_its_section_and_title():
    assert {name: section.title for name, section in SECTIONS.items()} == {
        name: rule.title for name, rule in RULES.items()
    }
    assert len(RULES) >= 25


def test_the_ids_that_are_about_files_and_comments_are_listed():
    listed = [row[0] for row in table("reference/lint", "What is said of files and comments")]
    assert listed == [f"``{name}``" for name in (UNREADABLE, IDLE, UNFOUNDED)]


@pytest.mark.parametrize("name", RULES)
def test_a_rule_finds_its_bad_example_and_nothing_else_does(name, said):
    found = said(SECTIONS[name].bad)
    assert {one.id for one in found} == {name}
    assert all(one.certain for one in found)
    assert all(RULES[name].message in one.message for one in found)


@pytest.mark.parametrize("name", RULES)
def test_no_rule_finds_anything_in_a_good_example(name, said):
    assert said(SECTIONS[name].good) == []
