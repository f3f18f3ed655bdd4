"""The documentation tells the truth: its code runs, and its lists are those of the code."""

import ast
import dataclasses
import inspect
import re
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

import django_task_safety
from django_task_safety import errors, ledger, options, signals
from django_task_safety.conf import Conf
from django_task_safety.models import Operation
from django_task_safety.tasks import SafeTask
from tests import celery
from tests.docs import drawings, sizes
from tests.docs.pages import DOCS, ROOT, page, table
from tests.support.delivering import LocalWorker
from tests.testapp import models

PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.rst"))]
#: What is Python runs.
LANGUAGES = {"python", "text", "shell"}

#: ``.. code-block:: python``, or the comment ``.. hidden python``, and the indented lines below it.
RST_BLOCK = re.compile(r"^\.\. (code-block::|hidden) (\w+)\n((?:\n|[ ]+.*\n)+)", re.MULTILINE)
#: A fenced block, or the comment ``<!-- hidden python: … -->``.
MD_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$|^<!-- hidden (python): (.*?) -->$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    line: int
    language: str
    code: str


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    pattern = RST_BLOCK if page.suffix == ".rst" else MD_BLOCK
    for found in pattern.finditer(text):
        line = text.count("\n", 0, found.start()) + 2
        if page.suffix == ".rst":
            yield Block(line, found[2], textwrap.dedent(found[3]))
        else:
            yield Block(line, found[1] or found[3], found[2] or found[4])


WITH_CODE = [path for path in PAGES if any(block.language == "python" for block in blocks(path))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def literals(cells: list[str]) -> list[str]:
    return [name for cell in cells for name in re.findall(r"``([^`]+)``", cell)]


class Payments(ModuleType):
    """The service that the pages charge."""

    def __init__(self) -> None:
        super().__init__("orders.payments")
        self.declines = False
        self.keys: list[str] = []

    def charge(self, number: int, amount: int, idempotency_key: str = "") -> str:
        if self.declines:
            raise ValueError("declined")
        self.keys.append(idempotency_key)
        return f"receipt {number}"

    def refund(self, number: int) -> None: ...


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, worker: LocalWorker, capsys: Any) -> Callable[..., Any]:
    """Make the modules that the pages speak of; the page's own code is ``orders.tasks``."""

    def make(name: str) -> dict[str, Any]:
        own = ModuleType("documented." + re.sub(r"\W", "_", name))
        modules: dict[str, Any] = {"orders": ModuleType("orders"), "notes": ModuleType("notes")}
        modules |= {"shop": ModuleType("shop"), "orders.payments": Payments(), "orders.tasks": own}
        modules |= {"orders.models": models, "notes.models": models, "shop.celery": celery}
        for module_name, module in modules.items():
            monkeypatch.setitem(sys.modules, module_name, module)
            parent, _, child = module_name.rpartition(".")
            if parent:
                setattr(modules[parent], child, module)
        monkeypatch.setitem(sys.modules, own.__name__, own)
        own.__dict__.update(BASE_DIR=tmp_path, INSTALLED_APPS=[], DATABASES={"default": {}})
        own.__dict__.update(worker=worker, Operation=Operation, printed=lambda: capsys.readouterr().out)
        return own.__dict__

    yield make
    celery.app.set_current()
    celery.app.conf.task_always_eager = False


@pytest.mark.parametrize("path", WITH_CODE, ids=name_of)
def test_the_code_of_a_documentation_page_runs(path, project):
    namespace = project(name_of(path))
    ran = 0
    for block in blocks(path):
        if block.language == "python":
            ran += 1
            code = compile("\n" * (block.line - 1) + block.code, str(path), "exec")
            exec(code, namespace)
            celery.app.set_current()
    assert ran


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_code_block_of_the_documentation_says_its_language(path):
    assert {block.language for block in blocks(path)} <= LANGUAGES
    # None may slip through the pattern unread.
    marks = {".rst": r"^ *\.\. (?:code-block::|hidden)", ".md": r"^```\w+$|^<!-- hidden"}
    assert len(list(blocks(path))) == len(re.findall(marks[path.suffix], path.read_text(), flags=re.MULTILINE))


def test_the_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_every_page_is_in_the_table_of_contents():
    listed = set(re.findall(r"^   (\w+/\w+)$", page("index"), flags=re.MULTILINE))
    assert listed == {str(path.relative_to(DOCS).with_suffix("")) for path in DOCS.glob("*/*.rst")}


def test_the_settings_are_listed_with_their_defaults():
    documented = {
        literals(row[:1])[0]: literals(row[1:2])[0] for row in table("reference/settings", "Keys of TASK_SAFETY")
    }
    actual = {field.name: field.default for field in dataclasses.fields(Conf)}
    assert {name: ast.literal_eval(default) for name, default in documented.items()} == actual


def test_the_retry_options_are_listed_with_their_defaults():
    documented = {literals(row[:1])[0]: ast.literal_eval(row[1]) for row in table("howto/retries")}
    assert documented == {name: getattr(SafeTask, name) for name in documented}
    assert {"max_retries", "retry_backoff", "retry_backoff_max", "retry_jitter"} == set(documented)


def test_every_error_is_documented():
    classes = [
        value for value in vars(errors).values() if inspect.isclass(value) and value.__module__ == errors.__name__
    ]
    documented = re.findall(r"autoexception:: (\w+)", page("reference/errors"))
    assert sorted(documented) == sorted(one.__name__ for one in classes)
    assert all(one.__doc__ for one in classes)


def test_every_error_that_bad_input_names_exists():
    named = set(re.findall(r"``((?:Invalid|Object|Payload|KeyR|Duplicate)\w+)``", page("explanation/bad_input")))
    assert named
    assert named <= set(vars(errors))


def test_every_signal_is_documented():
    documented = literals([row[0] for row in table("reference/signals")])
    assert sorted(documented) == sorted(f"operation_{name}" for name in signals.BY_NAME)
    assert all(hasattr(signals, name) for name in documented)


def test_the_state_machine_lists_the_transitions_of_the_ledger():
    lines = re.findall(r"^    (\w+) {2,}(.+?) +-> ([^ ].*?)(?:   .*)?$", ledger.__doc__, flags=re.MULTILINE)
    documented = [
        (literals(row[:1])[0], row[1], row[2]) for row in table("explanation/state_machine", "The transitions")
    ]
    assert len(lines) >= 10
    assert documented == [(name, start.strip(), end.strip()) for name, start, end in lines]


def test_the_drawing_of_the_states_names_every_transition_and_state():
    drawing = drawings.drawings()["states.svg"]
    transitions = [literals(row[:1])[0] for row in table("explanation/state_machine", "The transitions")]
    missing = [word for word in (*transitions, *Operation.State.names) if not re.search(rf"\b{word}\b", drawing)]
    assert missing == []


@pytest.mark.parametrize("name", drawings.drawings())
def test_each_drawing_is_the_one_that_its_command_makes(name):
    assert (drawings.IMAGES / name).read_text() == drawings.drawings()[name]


def test_every_system_check_has_an_anchor_and_says_what_why_and_how_to_mend_it():
    source = "".join(path.read_text() for path in Path(django_task_safety.__file__).parent.rglob("*.py"))
    sections = re.findall(
        r"^\.\. _task_safety\.(\w\d{3}):\n\n(\w+): .+\n\^+\n\n:What: .+\n(?: .+\n)*:Why: .+\n(?: .+\n)*:Mend: ",
        page("reference/checks"),
        flags=re.MULTILINE,
    )
    assert all(anchor == titled for anchor, titled in sections)
    assert sorted(anchor for anchor, _ in sections) == sorted(set(re.findall(r"task_safety\.([EWI]\d{3})", source)))


def test_every_public_name_has_its_place_in_the_reference():
    reference = "\n".join(path.read_text() for path in (DOCS / "reference").glob("*.rst"))
    documented = set(re.findall(r"^ *\.\. (?:auto|py:)\w+:: (\w+)$", reference, flags=re.MULTILINE))
    assert set(django_task_safety.__all__) <= documented


def test_every_field_that_the_reference_lists_exists():
    fields = literals([row[0] for row in table("reference/operations")])
    assert set(fields) <= {field.attname for field in Operation._meta.concrete_fields}


@pytest.mark.parametrize("name", [*options.SAFE_OPTIONS, *options.IDEMPOTENT_OPTIONS])
def test_every_task_option_is_explained_by_its_decorator(name):
    decorator = django_task_safety.safe_task if name in options.SAFE_OPTIONS else django_task_safety.idempotent_task
    assert f"``{name}``" in (decorator.__doc__ or "")


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("Options of both", options.SAFE_OPTIONS),
        ("Options of idempotent_task", set(options.IDEMPOTENT_OPTIONS) - set(options.SAFE_OPTIONS)),
    ],
)
def test_every_task_option_is_in_the_reference(title, names):
    assert sorted(literals([row[0] for row in table("reference/tasks", title)])) == sorted(names)


def test_every_hazard_has_its_feature_and_every_guarantee_its_limits():
    hazards = re.findall(r"^H(\d+)\. ", page("explanation/hazards"), flags=re.MULTILINE)
    assert hazards == [str(number) for number in range(1, 15)]
    guarantees = re.findall(r"^(G\d)\. ", page("explanation/guarantees"), flags=re.MULTILINE)
    assert guarantees == re.findall(r"^\| (G\d) \|", (ROOT / "README.md").read_text(), flags=re.MULTILINE)
    assert guarantees == [f"G{number}" for number in range(1, 10)]


def test_the_sizes_of_the_parts_are_those_of_the_code():
    documented = {row[0]: int(row[1].replace(",", "")) for row in table("explanation/layout", "The parts")}
    assert documented.keys() == sizes.sizes().keys()
    # To the nearest tenth: the command writes them anew.
    assert all(abs(documented[part] - lines) <= max(30, lines / 10) for part, lines in sizes.sizes().items())


def test_every_module_that_the_layout_names_exists():
    modules = re.findall(r"``(\w+/\w+\.py)``", page("explanation/layout"))
    assert len(modules) >= 8
    assert [name for name in modules if not (Path(django_task_safety.__file__).parent / name).is_file()] == []


def test_the_layers_that_the_layout_names_are_those_that_are_checked():
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    documented = [set(literals([row[0]])) for row in table("explanation/layout")]
    named = [name for layer in documented for name in layer]
    checked = [set(layer.split(" | ")) for layer in reversed(contract["layers"])]
    assert sorted(named) == sorted(name for layer in checked for name in layer)
    order = {name: number for number, layer in enumerate(checked) for name in layer}
    lowest_first = [min(order[name] for name in layer) for layer in documented]
    assert lowest_first == sorted(lowest_first)
