"""Comments that silence a line, and those that do not."""

from pathlib import Path

import pytest

from django_task_safety.linting.report import lint

SLEEPS = """
import time
from django_task_safety import safe_task

@safe_task
def sleeps() -> None:
    time.sleep(1)  {comment}
"""


@pytest.fixture
def said(tmp_path: Path):
    def of(comment: str) -> list[tuple[int, str]]:
        path = tmp_path / "tasks.py"
        path.write_text(SLEEPS.format(comment=comment))
        return [(one.line, one.id) for one in lint([path])]

    return of


def test_a_comment_with_a_reason_silences_its_line(said):
    assert said("") == [(7, "L301")]
    assert said("# task-safety: ok=L301 a second at most") == []


@pytest.mark.parametrize("comment", ["# task-safety: ok=L301", "# task-safety: ok=L301   ", "# task-safety: ok= slow"])
def test_a_comment_without_a_reason_or_a_rule_silences_nothing_and_is_reported(said, comment):
    assert said(comment) == [(7, "L003"), (7, "L301")]


def test_a_comment_about_an_unknown_rule_is_reported(said):
    assert said("# task-safety: ok=L999 because") == [(7, "L003"), (7, "L301")]


def test_an_idle_comment_is_reported(said):
    assert said("# task-safety: ok=L102 mail is harmless") == [(7, "L002"), (7, "L301")]
    assert said("# task-safety: ok=L301,L102 mail is harmless") == [(7, "L002")]


def test_a_comment_silences_no_other_line(said):
    comment = "\n    time.sleep(2)  # task-safety: ok=L301 a second at most"
    assert said(comment) == [(7, "L301")]


def test_a_text_that_looks_like_a_comment_is_none(said):
    assert said('; text = "# task-safety: ok=L301 reason"') == [(7, "L301")]


def test_an_idle_comment_is_reported_also_where_the_file_has_no_task(tmp_path):
    path = tmp_path / "plain.py"
    path.write_text("x = 1  # task-safety: ok=L301 once there was a sleep\n")
    assert [one.id for one in lint([path])] == ["L002"]


def test_what_the_linter_is_unsure_of_needs_no_comment_and_may_have_one(tmp_path):
    path = tmp_path / "tasks.py"
    code = SLEEPS.replace("@safe_task", "@safe_task(atomic=ATOMIC)")
    path.write_text(code.format(comment=""))
    assert [(one.id, one.certain) for one in lint([path])] == [("L301", False)]
    path.write_text(code.format(comment="# task-safety: ok=L301 a second at most"))
    assert lint([path]) == []
