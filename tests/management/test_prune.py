"""``task_safety prune``: ended operations are deleted as the sweeper does it, or sooner where that is asked for."""

import pytest

from django_task_safety.ledger import retention
from django_task_safety.models import Operation
from tests.support.commands import task_safety
from tests.testapp.tasks import act, record

DAY = 86_400


@pytest.fixture
def ended(worker):
    for number in range(5):
        record.delay(str(number))
    act.delay("raise")
    worker.drain()
    pending = record.enqueue("pending")
    return worker, pending


def test_prune_deletes_what_is_past_its_retention_and_nothing_else(ended):
    worker, pending = ended
    assert task_safety("prune") == (0, "deleted 0 operations\n", "")
    worker.pass_time(31 * DAY)
    assert task_safety("prune", "--dry-run").out == "due: 6 operations\n"
    assert task_safety("prune", "--batch", 4).out == "deleted 6 operations\n"
    assert list(Operation.all_rows.all()) == [pending]
    assert task_safety("prune", "--json").json == {"pruned": 0}


def test_prune_deletes_sooner_what_is_older_than_that(ended):
    worker, pending = ended
    assert task_safety("prune", "--older-than", 1).out == "deleted 0 operations\n"
    worker.pass_time(2 * DAY)
    assert task_safety("prune", "--older-than", 1, "--dry-run", "--json").json == {"pruned": 0, "due": 6}
    assert task_safety("prune", "--older-than", 1, "--batch", 2).out == "deleted 6 operations\n"
    assert list(Operation.all_rows.all()) == [pending]


def test_prune_keeps_what_somebody_is_still_to_hear_of(ended):
    worker, _ = ended
    worker.pass_time(2 * DAY)
    Operation.objects.filter(state="failed").update(delivered=False)
    assert task_safety("prune", "--older-than", 1).out == "deleted 5 operations\n"
    worker.pass_time(40 * DAY)
    assert task_safety("prune").out == "deleted 1 operation\n"


def test_prune_keeps_for_ever_what_is_to_be_kept_for_ever(worker, settings):
    settings.TASK_SAFETY = {"RETENTION": None}
    record.delay("a")
    worker.drain()
    worker.pass_time(1000 * DAY)
    assert task_safety("prune").out == "deleted 0 operations\n"


def test_prune_passes_over_what_another_process_holds_or_deleted(ended, monkeypatch):
    worker, _ = ended
    worker.pass_time(31 * DAY)
    monkeypatch.setattr(retention.table, "locked", lambda found: list(found)[:1])
    assert task_safety("prune", "--batch", 3).out == "deleted 2 operations\n"
