"""Who may import whom, who may write the table of operations, and where a test stands."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import django
import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "django_task_safety"
TESTS = ROOT / "tests"
Function = ast.FunctionDef | ast.AsyncFunctionDef

#: What `import django_task_safety` loads. A project's Celery app is made before there are models, so these import what
#: needs them inside functions, and nobody else does.
LOADED = [
    "django_task_safety",
    "django_task_safety.conf",
    "django_task_safety.context",
    "django_task_safety.decorators",
    "django_task_safety.errors",
    "django_task_safety.ids",
    "django_task_safety.locking",
    "django_task_safety.locking.locks",
    "django_task_safety.objects",
    "django_task_safety.objects.watching",
    "django_task_safety.options",
    "django_task_safety.options.task_options",
    "django_task_safety.options.validation",
    "django_task_safety.producer",
    "django_task_safety.producer.call_options",
    "django_task_safety.producer.canvas",
    "django_task_safety.producer.gathering",
    "django_task_safety.producer.optioned",
    "django_task_safety.producer.result_handle",
    "django_task_safety.registry",
    "django_task_safety.splitting",
    "django_task_safety.tasks",
    "django_task_safety.texts",
    "django_task_safety.values",
    "django_task_safety.values.codec",
    "django_task_safety.values.identity",
    "django_task_safety.values.masking",
    "django_task_safety.values.people",
    "django_task_safety.values.references",
    "django_task_safety.version",
    "django_task_safety.worker",
    "django_task_safety.worker.progress",
]
#: Django's own place for imports that need the models, and a plugin that pytest loads before there are any.
EARLY = {
    ("django_task_safety.apps", "ready"),
    ("django_task_safety.pytest_plugin", "task_safety"),
    ("django_task_safety.pytest_plugin", "_examples"),
    ("django_task_safety.pytest_plugin", "_test_of"),
}

#: What begins a queryset of operations, and what would write its rows.
OPERATIONS = ("table.rows(", "table.by_id(", "table.about(", "table.run_by(", "Operation.", "operation_model().")
WRITES = {
    "update",
    "delete",
    "_raw_delete",
    "create",
    "get_or_create",
    "update_or_create",
    "bulk_create",
    "bulk_update",
}
#: The triggers are SQL about the table; the migration operation that makes them looks whether it is there.
NAME_THE_TABLE = {"django_task_safety.objects.triggers", "django_task_safety.operations"}

#: Folders of tests that are about no single part of the package, and the apps whose models the tests use.
OTHER_FOLDERS = {
    *(
        "bench",
        "browser",
        "chaos",
        "crash",
        "docs",
        "judges",
        "live",
        "notesapp",
        "stateful",
        "support",
        "testapp",
        "upstream",
    ),
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def modules(folder: Path) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(folder.rglob("*.py")):
        yield module_name(path), ast.parse(path.read_text())


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def imported(node: ast.AST) -> list[str]:
    """Return the modules that a statement imports, or may: ``from a import b`` may be about the module ``a.b``."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def test_no_module_imports_one_of_a_higher_layer():
    lint = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_is_imported_without_settings_and_loads_what_is_listed_here():
    code = (
        "import sys, django_task_safety; print(*sorted(name for name in sys.modules if 'django_task_safety' in name))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert [name for name in done.stdout.split() if name.split(".")[0] == PACKAGE.name] == LOADED


def test_every_module_is_imported_also_where_celerys_classes_take_no_parameters():
    code = """
import importlib, sys, celery, celery.result, django
for generic in (celery.Celery, celery.Signature, celery.Task, celery.result.AsyncResult):
    if "__class_getitem__" in vars(generic):  # from Celery 5.7
        del generic.__class_getitem__
django.setup()
for name in sys.argv[1:]:
    importlib.import_module(name)
"""
    names = [name for name, _ in modules(PACKAGE)]
    if django.VERSION < (6, 0) and find_spec("django_tasks") is None:
        names = [name for name in names if ".backends" not in name]
    done = subprocess.run([sys.executable, "-c", code, *names], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def late_imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the functions, and the lines in them, that import from this package, Django, Celery or Kombu."""
    for function in functions(tree):
        for node in ast.walk(function):
            if any(name.split(".")[0] in (PACKAGE.name, "django", "celery", "kombu") for name in imported(node)):
                yield function.name, node.lineno


def test_only_what_the_package_itself_loads_imports_inside_of_functions():
    found = [
        f"{module}:{line} in {function}()"
        for module, tree in modules(PACKAGE)
        for function, line in late_imports(tree)
        if module not in LOADED and (module, function) not in EARLY
    ]
    assert not found, "imports that belong to the top of the file"


def is_about_operations(node: ast.AST, names: set[str]) -> bool:
    text = ast.unparse(node)
    return text.startswith(OPERATIONS) or text.split(".")[0] in names


def writes(function: Function) -> Iterator[int]:
    """Yield the lines that write through a queryset of operations, also where that is in a variable."""
    names: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and is_about_operations(node.value, names):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    for called in calls:
        if isinstance(called, ast.Attribute) and called.attr in WRITES and is_about_operations(called.value, names):
            yield called.lineno


@pytest.mark.parametrize(
    "line",
    [
        "table.rows().filter(pk=1).update(state='failed')",
        "found = table.by_id(1); old = found.filter(state='failed'); old.delete()",
        "Operation.objects.bulk_create([])",
    ],
)
def test_a_write_to_the_table_of_operations_is_recognised(line):
    (function,) = functions(ast.parse(f"def write(): {line}"))
    assert list(writes(function)) == [1]


def outside_the_ledger() -> Iterator[tuple[str, ast.Module]]:
    return ((name, tree) for name, tree in modules(PACKAGE) if not name.startswith("django_task_safety.ledger"))


def test_only_the_ledger_writes_the_table_of_operations():
    found = [
        f"{module}:{line}"
        for module, tree in outside_the_ledger()
        for function in functions(tree)
        for line in writes(function)
    ]
    assert not found, "writes that belong into the ledger"


def names_the_table(tree: ast.AST) -> bool:
    texts = (ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    by_model = any(text.endswith(("Operation._meta.db_table", "operation_model()._meta.db_table")) for text in texts)
    names = {name for node in ast.walk(tree) for name in imported(node)}
    return by_model or "django_task_safety.ledger.statements.table" in names


def test_only_the_ledger_and_the_triggers_write_sql_about_the_table_of_operations():
    assert {module for module, tree in outside_the_ledger() if names_the_table(tree)} == NAME_THE_TABLE


def test_every_folder_of_tests_is_about_a_folder_of_the_package_or_known_to_be_about_none():
    folders = {path.parent.relative_to(TESTS).parts[0] for path in TESTS.rglob("test_*.py") if path.parent != TESTS}
    assert folders <= {path.name for path in PACKAGE.iterdir() if path.is_dir()} | OTHER_FOLDERS


def test_no_test_imports_another_test_or_a_conftest():
    found = {
        f"{module} imports {name}"
        for module, tree in modules(TESTS)
        for node in ast.walk(tree)
        for name in imported(node)
        if name.startswith("tests.") and any(part.startswith(("test_", "conftest")) for part in name.split("."))
    }
    assert not found
