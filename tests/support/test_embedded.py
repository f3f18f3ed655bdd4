"""The broker in a folder: what is published is taken whole, whoever looks meanwhile."""

import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection

from tests.celery import app

MESSAGES = 300


@pytest.fixture
def channel(tmp_path: Path) -> Callable[[], Any]:
    """Connect anew, to the same folder, by the broker of the workers that tests start."""
    assert app  # its module registers the transport
    queue, control = str(tmp_path / "queue"), str(tmp_path / "control")
    Path(queue).mkdir()
    folders = {"data_folder_in": queue, "data_folder_out": queue, "control_folder": control}
    return lambda: Connection("filesystem://", transport_options=folders).channel()


def together(*calls: Callable[[], None]) -> None:
    """Make the calls, each in a thread; raise what they raise."""
    failures: list[Exception] = []

    def guarded(call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as exc:
            failures.append(exc)

    threads = [threading.Thread(target=guarded, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert not any(thread.is_alive() for thread in threads)


def test_a_message_is_taken_whole_and_in_order_while_others_are_published(channel):
    taken: list[int] = []

    def publish() -> None:
        publisher = channel()
        for number in range(MESSAGES):
            publisher._put("celery", {"number": number})

    def take() -> None:
        consumer = channel()
        while len(taken) < MESSAGES:
            try:
                taken.append(consumer._get("celery")["number"])
            except Empty:
                continue

    together(publish, take)
    assert taken == list(range(MESSAGES))


def test_an_exchange_is_read_whole_while_it_is_declared(channel):
    names = [f"exchange{number}" for number in range(100)]

    def bind(queue: str) -> None:
        binder = channel()
        for name in names:
            binder._queue_bind(name, "", "", queue)
            assert queue in [binding.queue for binding in binder.get_table(name)]

    together(*(lambda queue=queue: bind(queue) for queue in ("a", "b", "c")))
    for name in names:
        assert {binding.queue for binding in channel().get_table(name)} == {"a", "b", "c"}
