"""The proof names invariants, statements and tests that exist."""

import ast
import re
from pathlib import Path

import pytest

import django_task_safety
from tests.docs.pages import table
from tests.mutations import MUTATIONS, ROOT, Mutation

PACKAGE = Path(django_task_safety.__file__).parent
INVARIANTS = {row[0]: row for row in table("explanation/proof", "The invariants")}


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_each_invariant_is_broken_by_a_mutation_and_each_mutation_breaks_one():
    assert {mutation.invariant for mutation in MUTATIONS} == INVARIANTS.keys()


@pytest.mark.parametrize("name", INVARIANTS)
def test_the_statements_that_keep_an_invariant_exist(name):
    kept = re.findall(r"``([\w/]+\.py):(\w+)``", INVARIANTS[name][3])
    assert kept
    assert [(file, function) for file, function in kept if function not in functions(PACKAGE / file)] == []


def test_each_guarantee_rests_on_an_invariant():
    assert {f"G{number}" for number in range(1, 10)} == {
        guarantee for row in INVARIANTS.values() for guarantee in re.findall(r"G\d", row[2])
    }


@pytest.mark.parametrize("name", INVARIANTS)
def test_an_invariant_has_its_name_in_the_code_where_it_is_kept(name):
    files = {file for file, _ in re.findall(r"``([\w/]+\.py):(\w+)``", INVARIANTS[name][3])}
    assert [file for file in files if f"Invariant: {name}." not in (PACKAGE / file).read_text()] == []


def test_the_code_names_no_other_invariants():
    source = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    assert set(re.findall(r"Invariant: ([a-z ]+)\.", source)) == INVARIANTS.keys()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{mutation.invariant}-{mutation.file}")
def test_a_mutation_finds_its_statement_and_its_tests(mutation: Mutation):
    assert (PACKAGE / mutation.file).read_text().count(mutation.text) == 1
    assert mutation.tests
    for named in mutation.tests:
        file, _, function = named.partition("::")
        assert (ROOT / file).is_file()
        assert not function or function in functions(ROOT / file)
