"""Settings of Django's own tests, and what stands around them: our app, and a record of what each test came to."""

import json
import os
import unittest
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.apps import apps, registry
from django.test.runner import DiscoverRunner
from django.test.utils import isolate_apps

APP = "django_task_safety"

SERVER = json.loads(os.environ["UPSTREAM_DATABASE"])
DATABASES = {name: {**SERVER, "TEST": {"NAME": f"test_{name}"}} for name in ("default", "other")}
SECRET_KEY = "only for tests"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = False
TEST_RUNNER = f"{__name__}.RecordingRunner"


class Outcomes(unittest.TextTestResult):
    """Writes down what each test came to: passed, failed or skipped."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.outcomes: dict[str, str] = {}

    def _note(self, test: unittest.TestCase, outcome: str) -> None:
        # A failed part of a test is not made good by its end.
        self.outcomes.setdefault(test.id(), outcome)

    def addSuccess(self, test):  # noqa: N802
        super().addSuccess(test)
        self._note(test, "passed")

    def addError(self, test, err):  # noqa: N802
        super().addError(test, err)
        self._note(test, "failed")

    def addFailure(self, test, err):  # noqa: N802
        super().addFailure(test, err)
        self._note(test, "failed")

    def addSubTest(self, test, subtest, err):  # noqa: N802
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note(test, "failed")

    def addSkip(self, test, reason):  # noqa: N802
        super().addSkip(test, reason)
        self._note(test, "skipped")

    def addExpectedFailure(self, test, err):  # noqa: N802
        super().addExpectedFailure(test, err)
        self._note(test, "passed")

    def addUnexpectedSuccess(self, test):  # noqa: N802
        super().addUnexpectedSuccess(test)
        self._note(test, "failed")


class RecordingRunner(DiscoverRunner):
    def get_resultclass(self) -> type[Outcomes]:
        return Outcomes

    def setup_test_environment(self, **kwargs: Any) -> None:
        super().setup_test_environment(**kwargs)
        if apps.is_installed(APP):
            keep_our_app()

    def run_suite(self, suite: unittest.TestSuite, **kwargs: Any) -> Outcomes:
        result: Outcomes = super().run_suite(suite, **kwargs)
        Path(os.environ["UPSTREAM_OUTCOMES"]).write_text(json.dumps(result.outcomes))
        return result


def keep_our_app() -> None:
    """Django's tests take apps away from the registry, or make one of their own; ours is in each of them."""
    from django_task_safety.models import Operation

    available, enable = registry.Apps.set_available_apps, isolate_apps.enable

    def set_available_apps(self: registry.Apps, names: Iterable[str]) -> None:
        available(self, [*names, APP])

    def enable_with_ours(self: isolate_apps) -> registry.Apps:
        isolated = enable(self)
        isolated.register_model(APP, Operation)
        return isolated

    registry.Apps.set_available_apps = set_available_apps  # type: ignore[method-assign]
    isolate_apps.enable = enable_with_ours  # type: ignore[method-assign]
