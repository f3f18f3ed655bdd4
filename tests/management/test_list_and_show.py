"""``task_safety list`` and ``show``: what is there, and all that is known of one."""

import pytest

from django_task_safety import safe_task
from django_task_safety.ledger import newest
from django_task_safety.models import Operation
from django_task_safety.values.clock import After
from tests.support.commands import task_safety
from tests.support.factories import NoteFactory, VaultFactory
from tests.testapp.tasks import act, charge, copy_note, record


@safe_task
def log_in(name: str, password: str, *codes: int) -> dict[str, str]:
    return {"name": name}


def test_list_shows_the_newest_first(worker):
    record.delay("a")
    copy_note.delay(NoteFactory(title="Milk"), 2)
    worker.drain()
    head, first, second = task_safety("list").out.splitlines()
    assert head.split() == ["ID", "STATE", "AGE", "TOOK", "QUEUE", "OBJECT", "TITLE", "ERROR"]
    newest_one, oldest = Operation.objects.order_by("-created_at")
    assert first.startswith(f"{newest_one.pk}  ✓ done")
    assert f"testapp.note:{newest_one.subject_id}" in first
    assert second.startswith(str(oldest.pk))


@pytest.mark.django_db
def test_list_of_nothing_says_so():
    assert task_safety("list") == (0, "No operation.\n", "")
    assert task_safety("list", "--json").json == {"operations": [], "after": None}


@pytest.mark.django_db
def test_list_goes_on_where_the_page_before_ended():
    record.enqueue_many([(str(number),) for number in range(5)])
    pks = [str(pk) for pk in Operation.objects.order_by("-created_at", "-pk").values_list("pk", flat=True)]
    page = task_safety("list", "--limit", 3, "--json").json
    assert [one["id"] for one in page["operations"]] == pks[:3]
    assert page["after"] == pks[2]
    assert f"There are more: --after {pks[2]}" in task_safety("list", "--limit", 3).out
    rest = task_safety("list", "--limit", 3, "--after", page["after"], "--json").json
    assert ([one["id"] for one in rest["operations"]], rest["after"]) == (pks[3:], None)


@pytest.mark.django_db
def test_list_says_when_it_did_not_look_at_all(monkeypatch):
    monkeypatch.setattr(newest, "WINDOW", 2)
    monkeypatch.setattr(newest, "WINDOWS", 1)
    record.enqueue_many([(str(number),) for number in range(5)])
    assert "Only the newest were looked at; there may be more: --after" in task_safety("list", "--queue", "rare").out


@pytest.mark.django_db
def test_list_filters_by_the_columns():
    note = NoteFactory()
    about = copy_note.options(requested_by=7).enqueue(note)
    ended = charge.enqueue(1)
    ended.cancel()
    Operation.objects.filter(pk=ended.pk).update(queue="slow")

    def found(*filters):
        return [one["id"] for one in task_safety("list", "--json", *filters).json["operations"]]

    for filters in (
        ["--task", copy_note.name],
        ["--object", f"testapp.Note:{note.pk}"],
        ["--object", "testapp.note"],
        ["--requested-by", "7"],
        ["--state", "queued"],
        ["--state", "QUEUED", "--state", "running"],
    ):
        assert found(*filters) == [str(about.pk)], filters
    for filters in (["--queue", "slow"], ["--state", "cancelled"], ["--ended-within", "15m"]):
        assert found(*filters) == [str(ended.pk)], filters
    assert found("--queue", "slow", "--state", "queued") == []
    assert found("--object", "testapp.note:123456") == found("--stuck") == []
    Operation.objects.update(available_at=After(-300))
    assert found("--stuck") == [str(about.pk)]


def test_show_tells_all_of_one_operation(worker):
    operation = act.options(requested_by=3).enqueue("raise", message="a bad day")
    worker.drain()
    operation.retry(by=4)
    worker.drain()
    answer = task_safety("show", operation.pk)
    assert answer.code == 0
    for part in (
        str(operation.pk),
        act.name,
        "failed",
        "a bad day",
        "'raise'",
        "retry by 4",
        "traceback:",
        "1. failed",
    ):
        assert part in answer.out, part
    data = task_safety("show", operation.pk, "--json").json
    assert data["id"] == str(operation.pk)
    assert data["arguments"] == {"action": "'raise'", "message": "'a bad day'"}
    assert [one["what"] for one in data["events"]] == ["retry"]
    assert [one["outcome"] for one in data["attempts"]] == ["failed", "failed"]
    assert "ValueError" in data["traceback"]


def test_show_hides_what_nobody_is_to_read(worker):
    operation = log_in.enqueue("ann", "s3cret", 1, 2)
    worker.drain()
    data = task_safety("show", operation.pk, "--json").json
    assert data["result"] == {"name": "ann"}
    assert list(data["arguments"]) == ["name", "password", "codes[0]", "codes[1]"]
    assert "•••" in data["arguments"]["password"]
    assert "s3cret" not in task_safety("show", operation.pk).out


@pytest.mark.django_db
def test_show_hides_all_arguments_of_a_task_that_is_not_known_here():
    operation = record.enqueue("s3cret")
    Operation.objects.update(task="gone.task", key="")
    assert task_safety("show", operation.pk, "--json").json["arguments"] is None
    assert "its task is not registered here" in task_safety("show", operation.pk).out
    assert "s3cret" not in task_safety("show", operation.pk).out


@pytest.mark.django_db
def test_show_says_of_what_cannot_be_read_why():
    operation = record.enqueue("a")
    Operation.objects.update(payload="!application/x-unheard-of!binary!AAAA")
    assert "unreadable" in task_safety("show", operation.pk, "--json").json["arguments"]
    assert task_safety("show", operation.pk).code == 0


@pytest.mark.django_db
def test_show_finds_a_lock():
    vault = VaultFactory()
    with vault.lock("import"):
        data = task_safety("show", Operation.objects.get().pk, "--json").json
    assert data["arguments"] == {}
    assert data["object"] == f"testapp.vault:{vault.pk}"
