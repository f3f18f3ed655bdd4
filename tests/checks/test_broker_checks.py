"""The checks of the broker: what it delivers again, and when."""

import pytest
from kombu.transport import TRANSPORT_ALIASES, virtual

from django_task_safety.checks import broker
from tests.support.ids import label


def nothing() -> None: ...


class Patient(virtual.Transport):
    """Never delivers again what somebody holds."""


class Hasty(virtual.Transport):
    """Does, after some seconds."""

    class Channel(virtual.Channel):
        visibility_timeout = 50


@pytest.mark.parametrize(
    ("url", "options", "fires"),
    [
        ("redis://", {"visibility_timeout": 100}, True),
        ("redis://", {"visibility_timeout": 60.5}, True),
        ("rediss://", {"visibility_timeout": 60}, True),
        ("sqs://", {"visibility_timeout": 60}, True),
        ("sentinel://", {"visibility_timeout": 60}, True),
        ("sentinel://a;sentinel://b", {"visibility_timeout": 60}, True),
        (["amqp://", "redis://"], {"visibility_timeout": 60}, True),
        ("redis://", {"visibility_timeout": 101}, False),
        ("redis://", {}, False),
        ("amqp://", {"visibility_timeout": 60}, False),
        ("memory://", {}, False),
        (
            "gcpubsub://projects/shop",
            {"visibility_timeout": 60},
            False,
        ),  # which goes on holding what is not acknowledged
    ],
    ids=label,
)
def test_a_broker_that_delivers_again_while_a_task_may_still_run_is_a_warning(project, url, options, fires):
    project.safe(nothing, time_limit=100, soft_time_limit=90)
    project.app.conf.update(broker_url=url, broker_transport_options=options)
    found = project.messages(broker.check_late)
    assert found.keys() == ({"W001"} if fires else set())
    assert not fires or "nothing: a time limit of 100 s" in found["W001"]


def test_a_plain_task_that_is_acknowledged_late_may_run_twice_at_once(project):
    project.app.conf.update(broker_url="redis://")
    project.plain(nothing, acks_late=True)
    assert "Plain task nothing: no time limit" in project.messages(broker.check_late)["W020"]
    project.plain(nothing, acks_late=True, time_limit=60)
    assert project.messages(broker.check_late) == {}
    project.plain(nothing)
    assert project.messages(broker.check_late) == {}


def test_a_task_that_is_acknowledged_early_is_not_delivered_again(project):
    project.app.conf.update(broker_url="redis://", broker_transport_options={"visibility_timeout": 60})
    project.safe(nothing, acks_late=False)
    assert project.messages(broker.check_late) == {}


@pytest.mark.parametrize(
    ("url", "options", "why"),
    [
        (None, {}, "no broker_url"),
        ("carrierpigeon://", {}, "'carrierpigeon'"),
        ("azureservicebus://", {}, "'azureservicebus'"),
        ("redis://", {"visibility_timeout": "3600"}, "'3600', which is no number"),
        ("redis://", {"visibility_timeout": True}, "True, which is no number"),
    ],
    ids=label,
)
def test_a_broker_of_which_nothing_is_known_is_not_called_good(project, url, options, why):
    project.safe(nothing)
    project.app.conf.update(broker_url=url, broker_transport_options=options)
    unknown = project.unknown(broker.check_known)
    assert unknown.keys() == {"W001", "W020", "W021", "W022"}
    assert why in unknown["W001"]
    for check in (broker.check_late, broker.check_short_waits, broker.check_long_waits):
        assert project.found(check) == []


@pytest.mark.parametrize(("transport", "fires"), [(Hasty, True), (Patient, False)])
def test_a_projects_own_transport_says_itself_when_it_delivers_again(project, monkeypatch, transport, fires):
    monkeypatch.setitem(TRANSPORT_ALIASES, "own", f"{__name__}:{transport.__name__}")
    project.app.conf.broker_url = "own://"
    project.safe(nothing, time_limit=100)
    assert project.unknown(broker.check_known) == {}
    assert project.messages(broker.check_late).keys() == ({"W001"} if fires else set())


def test_nobody_knows_here_how_long_rabbitmq_waits_for_an_acknowledgement(project):
    project.app.conf.update(broker_url="amqp://")
    project.safe(nothing, time_limit=1200)
    assert project.unknown(broker.check_known) == {}
    project.safe(nothing, time_limit=1800)
    assert "consumer_timeout" in project.unknown(broker.check_known)["W001"]


def test_waits_that_are_left_to_the_broker_are_shorter_than_its_patience(project, settings):
    project.safe(nothing)
    project.app.conf.update(broker_url="redis://", broker_transport_options={"visibility_timeout": 60})
    assert "MAX_BROKER_DELAY" in project.messages(broker.check_short_waits)["W021"]
    settings.TASK_SAFETY = {"MAX_BROKER_DELAY": 59}
    assert project.messages(broker.check_short_waits) == {}


@pytest.mark.parametrize(
    ("options", "fires"),
    [
        ({}, False),
        ({"default_retry_delay": 3600}, True),
        ({"retry_backoff": True, "retry_backoff_max": 7200, "autoretry_for": (OSError,)}, True),
        ({"retry_backoff": True, "autoretry_for": (OSError,)}, False),
        ({"retry_backoff_max": 7200, "autoretry_for": (OSError,)}, False),
    ],
    ids=label,
)
def test_a_plain_task_does_not_wait_in_the_broker_for_too_long(project, options, fires):
    project.app.conf.update(broker_url="redis://")
    project.plain(nothing, **options)
    assert project.messages(broker.check_long_waits).keys() == ({"W022"} if fires else set())


@pytest.mark.parametrize(
    ("multiplier", "limit", "fires"),
    [(4, 3600, True), (0, 3600, True), (4, None, True), (1, 3600, False), (4, 900, False), (4, 1200, False)],
)
def test_no_task_waits_behind_a_long_one_that_the_same_process_has_fetched(project, multiplier, limit, fires):
    project.app.conf.worker_prefetch_multiplier = multiplier
    project.safe(nothing, time_limit=limit, soft_time_limit=60)
    assert project.messages(broker.check_prefetch).keys() == ({"W023"} if fires else set())


def test_what_this_package_brings_is_not_the_projects_to_change(project):
    project.app.conf.update(broker_url="sqs://", worker_prefetch_multiplier=4)
    project.safe(nothing, time_limit=7200, title="Ours")
    project.app.tasks["django_task_safety.nothing"] = project.app.tasks.pop("nothing")
    for check in (broker.check_late, broker.check_prefetch):
        assert project.found(check) == []


def test_the_usual_time_limit_does_not_make_a_task_a_long_one(project):
    project.safe(nothing)
    assert project.messages(broker.check_prefetch) == {}


def test_a_broker_without_its_driver_is_a_warning(project, monkeypatch):
    project.app.conf.update(broker_url="redis://")
    assert project.messages(broker.check_driver) == {}
    monkeypatch.setattr(broker.importlib.util, "find_spec", lambda name: None)
    assert "'redis' is not installed" in project.messages(broker.check_driver)["W024"]


@pytest.mark.parametrize(
    ("url", "location", "fires"),
    [
        ("redis://localhost", "redis://127.0.0.1:6379/0", True),
        ("redis://:secret@cache:6380/2", ["redis://other/2", "redis://cache:6380/2"], True),
        ("redis://localhost/0", "redis://localhost/1", False),
        ("amqp://localhost", "redis://localhost", False),
        ("redis://localhost", None, False),
    ],
    ids=label,
)
def test_a_cache_that_shares_the_brokers_database_is_a_warning(project, settings, url, location, fires):
    project.app.conf.update(broker_url=url)
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": location or ""},
        "far": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": location},
    }
    found = project.messages(broker.check_cache)
    assert found.keys() == ({"W025"} if fires else set())
    assert "secret" not in str(found)


@pytest.mark.parametrize(("url", "fires"), [("memory://", True), ("filesystem://", True), ("amqp://", False)])
def test_a_broker_without_a_server_is_a_warning_in_production(project, url, fires):
    project.app.conf.update(broker_url=url)
    assert project.messages(broker.check_server).keys() == ({"W026"} if fires else set())
