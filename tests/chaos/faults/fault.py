"""What all faults have in common."""

from typing import Any, ClassVar

from celery import Task

from tests.chaos.world import World
from tests.support.servers import Broker, Database, MariaDB, PostgreSQL, RabbitMQ, Redis


class Fault:
    """Something that goes wrong a few times while calls are made and run."""

    name: ClassVar[str]
    #: What happens, as the page says it.
    about: ClassVar[str]
    #: Brokers and databases to run it with.
    settings: ClassVar[tuple[tuple[str, str], ...]] = (("redis", "postgresql"),)
    calls: ClassVar[int] = 300
    #: How often it strikes, while so many calls are made.
    times: ClassVar[int] = 4
    #: Seconds that a body takes.
    pause: ClassVar[float] = 0.05
    #: Seconds that a connection to the database may be kept.
    conn_max_age: ClassVar[int] = 600
    #: Transport options beside those of all runs.
    options: ClassVar[dict[str, Any]] = {}

    def missing(self) -> str | None:
        """Return why it cannot be had here, or None if it can."""
        return None

    def database(self, kind: str) -> Database | None:
        """Return the server, None for SQLite."""
        return {"postgresql": PostgreSQL, "mariadb": MariaDB}[kind]() if kind != "sqlite" else None

    def broker(self, kind: str) -> Broker | None:
        """Return the server, None for the one that is a folder. It keeps what it was given when it is killed."""
        if kind == "embedded":
            return None
        return Redis(durable=True) if kind == "redis" else RabbitMQ()

    def worker_env(self, world: World, number: int) -> dict[str, str]:
        """Return what is special about the environment of the worker of this number."""
        return {}

    def call(self, task: Task, number: int) -> int:
        """Make the calls for a key, and return how often the fault struck with them."""
        task.delay(number, self.pause)
        return 0

    def strike(self, world: World) -> None:
        """Do the harm, and end it."""
