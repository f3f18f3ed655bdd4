"""``manage.py task_safety``: what operators and scripts do with operations; each action is a module of its own."""

import argparse
import contextlib
import os
import sys
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand
from django.db import Error as DatabaseError
from django.utils import translation

from django_task_safety.errors import TaskSafetyError
from django_task_safety.management.actions import (
    cancel,
    doctor,
    drain,
    explore,
    lint,
    listing,
    prune,
    purge,
    retry,
    show,
    status,
    sweep,
)
from django_task_safety.management.arguments import Parser, djangos_options, wrong_call
from django_task_safety.management.console import Console, SomethingIsWrong
from django_task_safety.values import codec

ACTIONS: dict[str, Any] = {
    "status": status,
    "list": listing,
    "show": show,
    "cancel": cancel,
    "retry": retry,
    "sweep": sweep,
    "prune": prune,
    "purge": purge,
    "drain": drain,
    "doctor": doctor,
    "explore": explore,
    "lint": lint,
}
#: Those that show sentences of the pages, in English like all else that the command says.
LOOKING = {"status", "list", "show", "doctor"}


class Command(BaseCommand):
    """The package's command line. Exit codes: 0 good, 1 something is wrong, 2 the call was."""

    help = "Look at operations and workers, and act on them."
    # Who repairs something is not to be kept from it by a check; the action `doctor` runs them all.
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        # An unknown action is a wrong call too.
        parser.error = partial(wrong_call, parser)  # type: ignore[method-assign]
        return parser

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--skip-checks", action="store_true", help=argparse.SUPPRESS)
        actions = parser.add_subparsers(dest="action", required=True, parser_class=Parser)
        shared = [djangos_options()]
        for name, module in ACTIONS.items():
            own = actions.add_parser(name, parents=shared, help=module.HELP, description=module.HELP)
            own.add_argument("--json", action="store_true", help="answer with one JSON document")
            module.add_arguments(own)

    def handle(self, *args: Any, action: str, json: bool, **options: Any) -> None:
        console = Console(self.stdout, self.stderr, json)
        # What acts runs a project's receivers, whose language is the project's.
        language = translation.override(None) if action in LOOKING else contextlib.nullcontext()
        try:
            with language:
                ACTIONS[action].run(console, **options)
            self.stdout.flush()
        except BrokenPipeError:
            # Who reads has read enough; Python would say so once more when it flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except DatabaseError as exc:
            raise SomethingIsWrong(f"The database: {codec.one_line(codec.describe(exc).strip())}") from exc
        except TaskSafetyError as exc:
            raise SomethingIsWrong(codec.one_line(str(exc))) from exc
