"""A plugin of pytest, found by its entry point: the fixture ``task_safety`` and the option ``--crash-safe``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from django_task_safety.testing.examples import Examples
    from django_task_safety.testing.local_worker import LocalWorker

_EXAMPLES = pytest.StashKey["Examples"]()

# pytest loads its plugins before Django has a project, so that what has models is imported where it is used.


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "also kill each safe task that has an example at each of its points (items named crash_safe)"
    parser.getgroup("django-task-safety").addoption("--crash-safe", action="store_true", help=text)


@pytest.fixture
def task_safety(db: None) -> Iterator[LocalWorker]:
    """A worker in the test's process; with ``transactional_db`` as well as without."""
    from django_task_safety.testing.local_worker import LocalWorker

    with LocalWorker() as worker:
        yield worker


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add a test for each safe task with an example, to be chosen by ``-k`` as the others are."""
    if config.getoption("crash_safe"):
        folder = _common_folder(session, items)
        for task in _examples(config).tasks:
            item: Any = pytest.Function
            items.append(item.from_parent(folder, name=f"crash_safe[{task.name}]", callobj=_test_of(task)))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.getoption("crash_safe"):
        examples = _examples(config)
        if examples.missing:
            terminalreporter.write_line(f"Safe tasks without an example, not tried: {', '.join(examples.missing)}")
        if examples.not_imported:
            terminalreporter.write_line(f"Not all modules with tasks can be imported: {examples.not_imported}")


def _examples(config: pytest.Config) -> Examples:
    from django_task_safety.testing.examples import Examples

    if _EXAMPLES not in config.stash:
        config.stash[_EXAMPLES] = Examples()
    return config.stash[_EXAMPLES]


def _test_of(task: Any) -> Callable[..., None]:
    from django_task_safety.testing import assert_crash_safe
    from django_task_safety.testing.examples import call_of

    # Servers copy only what is committed.
    @pytest.mark.django_db(transaction=True, databases="__all__")
    def crash_safe() -> None:
        args, kwargs = call_of(task)
        assert_crash_safe(task, *args, **kwargs)

    return crash_safe


def _common_folder(session: pytest.Session, items: list[pytest.Item]) -> pytest.Collector:
    """Return the innermost folder that all tests are in: its conftest files are those of the added tests, too."""
    chains = [[node for node in item.listchain() if isinstance(node, pytest.Directory)] for item in items]
    common = [nodes[0] for nodes in zip(*chains, strict=False) if len(set(nodes)) == 1]
    return common[-1] if common else session
