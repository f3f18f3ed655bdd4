"""The faults, by name."""

from tests.chaos.faults.brokers import (
    AwayAtPublish,
    PublishedTwice,
    RabbitMQRestarted,
    RedeliveredWhileRunning,
    RedisFlushed,
    RedisKilled,
)
from tests.chaos.faults.databases import DiskFull, Exhausted, FailedOver, Killed, Stopped
from tests.chaos.faults.fault import Fault
from tests.chaos.faults.processes import Clock, Kill, Pause

__all__ = ["FAULTS", "Fault"]

FAULTS: dict[str, type[Fault]] = {
    fault.name: fault
    for fault in (
        Kill,
        Pause,
        Stopped,
        Killed,
        FailedOver,
        Exhausted,
        DiskFull,
        RedisKilled,
        RedisFlushed,
        RabbitMQRestarted,
        AwayAtPublish,
        PublishedTwice,
        RedeliveredWhileRunning,
        Clock,
    )
}
