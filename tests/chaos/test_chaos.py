"""The ledger notices what is lost and what is done twice."""

import pytest

from tests.chaos import figures, page, variants
from tests.chaos.ledger import Counted, Run, count

ONCE = [("taken", "1"), ("booked", "1")]


@pytest.mark.parametrize(
    ("acknowledged", "traces", "found"),
    [
        ("1", ONCE, (0, 0, 0)),
        ("12", ONCE, (1, 0, 0)),
        ("1", ONCE[:1], (1, 0, 0)),
        ("1", ONCE * 2, (0, 1, 0)),
        ("1", [*ONCE, ONCE[0]], (0, 1, 0)),
        ("", ONCE, (0, 0, 1)),
        ("", [], (0, 0, 0)),
    ],
)
def test_counting_tells_what_is_lost_duplicated_and_recovered(acknowledged, traces, found):
    counted = count(2, set(acknowledged), traces)
    assert (counted.lost, counted.duplicated, counted.recovered) == found
    assert (counted.attempted, counted.acknowledged) == (2, len(acknowledged))


def test_an_attempt_that_left_nothing_was_interrupted():
    assert count(1, {"1"}, ONCE, begun=3).interrupted == 2


def test_the_kinds_of_tasks_are_those_that_the_workers_have():
    assert tuple(variants.VARIANTS) == figures.VARIANTS


def test_what_is_not_installed_is_skipped_by_name(monkeypatch):
    run = next(run for run in figures.plan("celery-once", seed=1) if run.broker == "rabbitmq")
    monkeypatch.setattr(figures, "find_spec", lambda name: None)
    row = figures.measure(run)
    assert row.counted is None
    assert page.line(row).endswith("skipped: celery-once is not installed")
    monkeypatch.undo()
    monkeypatch.setattr(figures.RabbitMQ, "programs", ("no-such-server",))
    monkeypatch.setattr(figures, "find_spec", lambda name: name)
    assert figures.missing(run) == "RabbitMQ is not installed (no no-such-server)"


def test_what_was_measured_elsewhere_is_measured_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "FILE", tmp_path / "figures.json")
    run = next(figures.plan(figures.OURS, seed=1))
    found = figures.Figures({"machine": "this one"})
    found.add(figures.Row(run, count(2, {"1"}, ONCE)))
    figures.write(found)
    assert figures.read({"machine": "this one"}) == found
    assert figures.read({"machine": "another"}).row_of(run) is None


def measured(fault: str, variant: str, calls: int) -> Counted:
    row = figures.measure(Run(fault, "embedded", "sqlite", variant, calls, seed=1))
    assert row.counted is not None
    return row.counted


@pytest.mark.live
@pytest.mark.timeout(300)
def test_a_task_that_loses_is_seen_to_lose():
    counted = measured("kill", "plain, early ack", 60)
    assert counted.lost > 0
    assert counted.times > 0


@pytest.mark.live
@pytest.mark.timeout(300)
def test_a_task_that_repeats_is_seen_to_repeat_where_ours_does_not():
    control, ours = (measured("published-twice", variant, 30) for variant in ("plain, late ack", figures.OURS))
    assert (control.lost, control.duplicated) == (0, control.times)
    assert (ours.lost, ours.duplicated, ours.times) == (0, 0, control.times)
