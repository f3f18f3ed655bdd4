"""What all actions of ``manage.py task_safety`` have in common."""

import io
import re
import subprocess
import sys

import pytest
from django.db import OperationalError

from django_task_safety.management import arguments
from django_task_safety.management.actions import listing
from django_task_safety.management.commands.task_safety import ACTIONS, Command
from django_task_safety.management.console import Console
from django_task_safety.models import Operation
from django_task_safety.values.clock import After
from tests.docs.pages import table
from tests.notesapp.models import Note
from tests.support.commands import Terminal, task_safety
from tests.support.ids import label
from tests.support.workers import ROOT
from tests.testapp.tasks import act, record

pytestmark = pytest.mark.django_db

WRONG_CALLS = {
    "no action": [],
    "unknown action": ["lsit"],
    "unknown option": ["list", "--colour"],
    "unknown state": ["list", "--state", "runing"],
    "no number": ["list", "--limit", "many"],
    "number below one": ["list", "--limit", "0"],
    "no time": ["list", "--ended-within", "soon"],
    "a time beyond all": ["list", "--ended-within", "9" * 400 + "d"],
    "no model": ["list", "--object", "nothing"],
    "unknown model": ["list", "--object", "no.such:1"],
    "no key of that model": ["list", "--object", "testapp.note:x"],
    "no id": ["show", "one"],
    "id of no operation": ["show", "01890000-0000-7000-8000-000000000000"],
    "no id to show": ["show"],
    "page after no operation": ["list", "--after", "01890000-0000-7000-8000-000000000000"],
    "nothing to cancel": ["cancel"],
    "ids and filters": ["cancel", "01890000-0000-7000-8000-000000000000", "--task", "a", "--yes"],
    "nothing to retry": ["retry", "--yes"],
    "no task to explore": ["explore", "no.such.task"],
    "no arguments to explore with": ["explore", "tests.testapp.tasks.record"],
    "unknown soft model": ["purge", "--model", "no.Such"],
}


@pytest.mark.parametrize("call", WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_a_wrong_call_ends_with_2_and_says_what_is_wrong(call):
    answer = task_safety(*call)
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("call", [["lsit"], ["list", "--state", "runing"], ["show", "one"]])
def test_a_wrong_call_on_the_command_line_ends_with_2(call, capsys):
    with pytest.raises(SystemExit) as exit:
        Command(stderr=io.StringIO()).run_from_argv(["manage.py", "task_safety", *call])
    assert exit.value.code == 2


def test_the_nearest_state_is_named():
    assert "Did you mean 'running'?" in task_safety("list", "--state", "runing").err


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_has_help(action, capsys):
    with pytest.raises(SystemExit) as exit:
        Command().run_from_argv(["manage.py", "task_safety", action, "--help"])
    assert not exit.value.code
    out = capsys.readouterr().out
    assert "--json" in out
    assert ACTIONS[action].HELP.split(":")[0] in " ".join(out.split())


# That one makes databases of its own: tests/testing.
@pytest.mark.parametrize("action", sorted(set(ACTIONS) - {"explore"}))
def test_every_action_answers_with_one_json_document(action, worker, tmp_path):
    record.enqueue("a").cancel()
    operation = str(Operation.objects.get().pk)
    (tmp_path / "tasks.py").touch()
    called = {"show": [operation], "cancel": [operation], "retry": [operation], "lint": [tmp_path]}
    answer = task_safety(action, *called.get(action, []), "--json")
    assert isinstance(answer.json, list if action == "lint" else dict)
    assert answer.code in (0, 1)


def test_a_database_that_does_not_answer_is_said_without_a_traceback(monkeypatch):
    def down(*args, **options):
        raise OperationalError("connection refused\nIs it running?")

    monkeypatch.setattr(listing, "run", down)
    answer = task_safety("list")
    assert answer.code == 1
    assert answer.err.startswith("The database: OperationalError: connection refused")


def test_what_others_wrote_moves_no_cursor():
    record.enqueue("a")
    Operation.objects.update(title="a\x1b[2Jb\nc")
    out = task_safety("list").out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 2


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 1, 2), ("\n", 1, 2)])
def test_what_changes_many_asks_on_a_terminal(answer, code, left, monkeypatch):
    record.enqueue_many([("a",), ("b",)])
    terminal = Terminal(answer)
    monkeypatch.setattr(sys, "stdin", terminal)
    assert task_safety("cancel", "--state", "queued").code == code
    assert Operation.objects.pending().count() == left


def test_what_changes_many_is_refused_where_nobody_can_be_asked(monkeypatch):
    record.enqueue("a")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    answer = task_safety("cancel", "--state", "queued")
    assert answer.code == 2
    assert answer.err == "Cancel 1 operation? Nobody is there to answer; add --yes."
    assert Operation.objects.pending().count() == 1


def test_progress_is_shown_on_a_terminal_only():
    record.enqueue_many([("a",), ("b",)])
    terminal = Terminal()
    answer = task_safety("cancel", "--state", "queued", "--yes", stderr=terminal)
    assert "2 done" in answer.err
    assert answer.out == "Cancelled 2 operations.\n"
    record.enqueue("c")
    assert task_safety("cancel", "--state", "queued", "--yes").err == ""


@pytest.mark.parametrize(
    "call", [["retry", "--state", "failed", "--yes"], ["prune"], ["purge", "--batch", "1"]], ids=label
)
def test_whatever_may_take_long_shows_how_far_it_is(call, worker):
    act.enqueue_many([("raise",), ("raise",)])
    worker.drain()
    worker.pass_time(31 * 86_400)
    for _ in range(2):
        Note.objects.create(title="a").delete()
    Note.all_objects.update(removed_at=After(-31 * 86_400))
    assert "2 done" in task_safety(*call, stderr=Terminal()).err
    assert task_safety(*call).err == ""


def test_json_holds_whatever_a_task_returned():
    out = io.StringIO()
    command = Command(stdout=out)
    Console(command.stdout, command.stderr, True).answer({"a": object, "b": {1, 2}}, [])
    assert "<class 'object'>" in out.getvalue()


def test_the_reference_lists_the_actions_and_the_filters():
    actions = [re.match(r"``(\w+)", row[0])[1] for row in table("reference/commands", "The actions")]
    assert actions == list(ACTIONS)
    parser = arguments.Parser()
    arguments.add_filters(parser)
    filters = [re.match(r"``(--[\w-]+)", row[0])[1] for row in table("reference/commands", "Filters")]
    assert filters == [action.option_strings[0] for action in parser._actions if action.dest != "help"]


def test_whoever_reads_the_answer_may_have_read_enough():
    command = [sys.executable, "-m", "django", "task_safety", "lint", "tests.testapp.models", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
