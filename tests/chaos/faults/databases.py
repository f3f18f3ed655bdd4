"""The database stops, fails over, or takes no more connections or data."""

import time

from tests.chaos.faults.fault import Fault
from tests.chaos.world import World
from tests.support.postgresql import OnSmallDisk, Replicated, exhaust
from tests.support.servers import Database, PostgreSQL


class Stopped(Fault):
    name = "database-stopped"
    about = "PostgreSQL is stopped in the mode ``immediate`` and started again"

    def strike(self, world: World) -> None:
        assert isinstance(world.database, PostgreSQL)
        world.database.stop_immediately()
        time.sleep(world.random.uniform(0, 1))
        world.database.restart()


class Killed(Fault):
    name = "database-killed"
    about = "All processes of the database get SIGKILL, and it is started again"
    settings = (("redis", "postgresql"), ("redis", "mariadb"))

    def strike(self, world: World) -> None:
        assert world.database is not None
        world.database.kill()
        time.sleep(world.random.uniform(0, 1))
        world.database.restart()


class FailedOver(Fault):
    name = "failover"
    about = "PostgreSQL's primary, whose commits wait for its standby, is killed, and the standby promoted"
    times = 1

    def database(self, kind: str) -> Database:
        return Replicated()

    def strike(self, world: World) -> None:
        assert isinstance(world.database, Replicated)
        world.database.fail_over()


class Exhausted(Fault):
    name = "connections"
    about = "All of PostgreSQL's connections are taken for three seconds; everybody connects for each request and task"
    times = 3
    conn_max_age = 0

    def strike(self, world: World) -> None:
        assert isinstance(world.database, PostgreSQL)
        exhaust(world.database, 3.0)


class DiskFull(Fault):
    name = "disk-full"
    about = "PostgreSQL's disk is full for three seconds"
    times = 3

    def missing(self) -> str | None:
        return OnSmallDisk.missing()

    def database(self, kind: str) -> Database:
        return OnSmallDisk()

    def strike(self, world: World) -> None:
        assert isinstance(world.database, OnSmallDisk)
        world.database.fill()
        time.sleep(3)
        world.database.make_room()
