"""What people read of an operation."""

from datetime import timedelta

import pytest
from django.utils import timezone

from django_task_safety import presentation
from django_task_safety.models import Operation
from django_task_safety.record import State

MINUTE = timedelta(minutes=1)


def made(state: State = State.QUEUED, **values: object) -> Operation:
    now = timezone.now()
    return Operation(**{"state": state, "created_at": now - 5 * MINUTE, "available_at": now - 5 * MINUTE, **values})


@pytest.mark.parametrize(
    ("state", "word", "tone"),
    [
        (State.QUEUED, "waiting", "quiet"),
        (State.RUNNING, "running", "busy"),
        (State.SUCCEEDED, "done", "good"),
        (State.FAILED, "failed", "bad"),
        (State.CANCELLED, "cancelled", "quiet"),
    ],
)
def test_each_state_has_a_word_a_sign_and_a_tone(state, word, tone):
    assert presentation.state_word(made(state)) == word
    assert presentation.tone(made(state)) == tone
    assert len(presentation.icon(state)) == 1


def test_what_is_not_due_yet_is_scheduled():
    assert presentation.state_word(made(available_at=timezone.now() + MINUTE)) == "scheduled"


@pytest.mark.parametrize("state", State)
def test_a_public_error_tells_nothing_of_the_exception(state):
    text = presentation.public_error(made(state, error="OperationalError: password=hunter2", traceback="File x"))
    assert "hunter2" not in text
    assert bool(text) == (state in {State.FAILED, State.CANCELLED})


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (None, ""),
        (timedelta(0), "0 s"),
        (timedelta(seconds=59.9), "59 s"),
        (timedelta(minutes=3, seconds=50), "3 min"),
        (timedelta(hours=23), "23 h"),
        (timedelta(days=1), "1 day"),
        (timedelta(days=40), "40 days"),
    ],
)
def test_a_length_of_time_is_said_in_its_largest_unit(time, words):
    assert presentation.in_words(time) == words


def test_times_go_on_while_it_is_pending_and_never_below_zero():
    now = timezone.now()
    assert presentation.duration(made()) is None
    assert presentation.duration(made(State.RUNNING, started_at=now - MINUTE)) >= MINUTE
    ended = made(State.SUCCEEDED, started_at=now - 3 * MINUTE, ended_at=now - MINUTE)
    assert presentation.duration(ended) == 2 * MINUTE
    assert presentation.age(made(created_at=now + MINUTE)) == timedelta(0)


def test_percent_is_known_where_somebody_said_it_or_it_is_done():
    assert presentation.percent(made()) is None
    assert presentation.percent(made(progress=0.999)) == 99
    assert presentation.percent(made(State.SUCCEEDED)) == 100


def test_the_older_it_is_the_less_often_it_is_worth_looking():
    young, old = made(created_at=timezone.now()), made(State.RUNNING, created_at=timezone.now() - timedelta(hours=1))
    assert presentation.next_poll(young) == 1
    assert presentation.next_poll(old) == 15
    assert presentation.next_poll(made(State.FAILED)) is None
