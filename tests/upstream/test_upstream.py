"""The comparison with Django's and Celery's own tests: what it puts in place, what it compares, what it says."""

import pytest
from celery import Celery, Task

from django_task_safety import SafeTask
from tests.upstream import differences, django_suite, in_celery, page
from tests.upstream.rewriting import derive, replace_all

SOURCE = '''"""Models."""

from __future__ import annotations

from django.db import models


class Café(models.Model): name = models.CharField("é", max_length=9); kind = models.Model


class Menu(Mixin, models.Model, metaclass=Base):
    class Meta:
        abstract = True


class Lunch(Menu): ...


class Refused(models.Model): ...
'''


def test_models_get_the_mixin_in_place_and_keep_their_lines():
    derived = derive(SOURCE, ["Refused"])
    assert "class Café(PendingOperationsModel): name = models.CharField" in derived
    assert "kind = models.Model\n" in derived
    assert "class Menu(Mixin, PendingOperationsModel, metaclass=Base):" in derived
    assert "class Lunch(Menu): ..." in derived
    assert "class Refused(models.Model): ..." in derived
    assert "import PendingOperationsModel; from django.db import models\n" in derived
    assert derived.count("\n") == SOURCE.count("\n")
    compile(derived, "models.py", "exec")


def test_a_module_without_models_stays_as_it_is():
    assert derive("x = 1\n") == "x = 1\n"


def test_what_is_to_be_replaced_must_be_there(tmp_path):
    (tmp_path / "tests.py").write_text("class One(Simple): ...\n")
    replace_all(tmp_path, {"(Simple)": "(Committing)"})
    assert (tmp_path / "tests.py").read_text() == "class One(Committing): ...\n"
    with pytest.raises(AssertionError):
        replace_all(tmp_path, {"(Simple)": "(Committing)"})


def test_a_task_that_is_still_celerys_is_found():
    app = Celery("upstream", task_cls=SafeTask, set_as_current=False)
    app.task(derive, name="t.safe")
    assert in_celery.plain_tasks(app) == set()
    app.task(derive, name="t.plain", base=Task)
    assert in_celery.plain_tasks(app) == {"t.plain"}


def test_what_passes_plainly_and_not_with_us_differs():
    plain = {"a": "passed", "b": "passed", "c": "passed", "d": "passed", "e": "failed", "f": "skipped"}
    safe = {"a": "passed", "b": "failed", "c": "skipped", "e": "failed", "f": "failed"}
    assert differences.differing(plain, safe) == {"b", "c", "d"}


def test_a_new_difference_and_one_that_is_none_any_more_are_told():
    assert differences.unexpected({"a", "b"}, {"b": "", "c": "", "unasked": ""}, {"a", "b", "c"}) == ({"a"}, {"c"})


def test_each_known_difference_has_a_suite_and_a_reason_and_is_listed_once():
    rows = differences.read(differences.DATA.read_text())
    assert {one.suite for one in rows} == page.SUITES.keys()
    assert all(one.reason.endswith(".") for one in rows)
    assert len({one.test for one in rows}) == len(rows)
    assert {one.test.split(".")[0] for one in rows if one.suite == "django"} <= set(django_suite.APPS)


def test_the_page_lists_the_known_differences():
    assert page.PAGE.read_text() == page.written(page.PAGE.read_text())
