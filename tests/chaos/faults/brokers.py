"""The broker goes away, forgets, or delivers more than once."""

import time

import redis
from celery import Task

from tests.chaos.faults.fault import Fault
from tests.chaos.world import World
from tests.support.servers import Broker, Redis, wait_until


class RedisKilled(Fault):
    name = "redis-killed"
    about = "Redis, which writes each change to its disk at once, is killed and started again"

    def strike(self, world: World) -> None:
        world.the_broker.kill()
        time.sleep(0.5)
        world.the_broker.restart()


class RedisFlushed(Fault):
    name = "redis-flushed"
    about = "FLUSHALL: Redis forgets messages and locks"

    def strike(self, world: World) -> None:
        with redis.Redis.from_url(world.the_broker.url) as client:
            client.flushall()


class RabbitMQRestarted(Fault):
    name = "rabbitmq-restarted"
    about = "RabbitMQ, with durable queues, persistent messages and confirms, is stopped and started again"
    settings = (("rabbitmq", "postgresql"),)
    times = 2

    def strike(self, world: World) -> None:
        world.the_broker.restart()


class AwayAtPublish(Fault):
    name = "broker-away"
    about = "Redis is away while ten calls are made, and comes back with what it had"
    times = 3

    def strike(self, world: World) -> None:
        world.the_broker.kill()
        goal = world.published + 10
        wait_until(lambda: world.published >= goal or world.all_published.is_set(), 60)
        world.the_broker.restart()


class PublishedTwice(Fault):
    name = "published-twice"
    about = "Every third call is made twice, and every other one of these under the same task id"
    times = 0

    def call(self, task: Task, number: int) -> int:
        first = task.delay(number, self.pause)
        if number % 3:
            return 0
        # A library that found a duplicate may have no id for it.
        same = {"task_id": first.id} if number % 2 and first.id else {}
        task.apply_async((number, self.pause), **same)
        return 1


class RedeliveredWhileRunning(Fault):
    """The most frequent of all faults: a task takes longer than somebody once thought."""

    name = "redelivered"
    about = "Every tenth task takes longer than the visibility timeout, and is delivered again while it runs"
    times = 0
    options = {"visibility_timeout": 1}

    def broker(self, kind: str) -> Broker:
        return Redis()

    def call(self, task: Task, number: int) -> int:
        is_long = number % 10 == 0
        task.delay(number, 3.0 if is_long else self.pause)
        return int(is_long)
