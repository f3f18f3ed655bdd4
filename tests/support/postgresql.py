"""PostgreSQL with a standby, and on a disk that becomes full."""

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

from tests.support.servers import LOCALHOST, PostgreSQL, wait_until


class Standby(PostgreSQL):
    """It follows a primary until it is promoted."""

    programs = ("pg_basebackup", "postgres")

    def __init__(self, primary: PostgreSQL) -> None:
        super().__init__()
        self.primary = primary

    def promote(self) -> None:
        """Make it a primary, and wait until it is one."""
        with self.connect() as connection:
            connection.execute("SELECT pg_promote()")

    def _prepare(self) -> None:
        place = (f"--pgdata={self.directory / 'data'}", f"--host={LOCALHOST}", f"--port={self.primary.port}")
        self._run(
            "pg_basebackup", *place, "--username=postgres", "--write-recovery-conf", "--no-sync", "--checkpoint=fast"
        )


class Replicated(PostgreSQL):
    """A primary and its standby, for which each commit waits; clients find the one that is the primary."""

    def __init__(self) -> None:
        super().__init__()
        self.standby = Standby(self)

    def start(self) -> None:
        super().start()
        self.standby.start()
        with self.connect() as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
            synchronous = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
            if not wait_until(lambda: connection.execute(synchronous).fetchone() is not None, self.patience):
                raise RuntimeError(f"the standby does not follow:\n{self._log()}")

    def stop(self) -> None:
        self.standby.stop()
        super().stop()

    def django_settings(self) -> dict[str, Any]:
        both = {"HOST": f"{LOCALHOST},{LOCALHOST}", "PORT": f"{self.port},{self.standby.port}"}
        return {**super().django_settings(), **both, "OPTIONS": {"target_session_attrs": "read-write"}}

    def fail_over(self) -> None:
        """Kill the primary and promote the standby."""
        self.kill()
        self.standby.promote()


class OnSmallDisk(PostgreSQL):
    """Its data are in a memory of their own, of 256 MiB; that takes root."""

    @classmethod
    def missing(cls) -> str | None:
        return super().missing() or (None if os.geteuid() == 0 else "only root can mount a small disk")

    @property
    def _filler(self) -> Path:
        return self.directory / "data" / "filler"

    def fill(self) -> None:
        """Leave no byte free."""
        with self._filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(2**20))

    def make_room(self) -> None:
        """Free what was filled, and start the server again where it gave up."""
        self._filler.unlink()
        if self.ended():
            self.restart()
        wait_until(self._answers, self.patience)  # where it recovers by itself

    def _prepare(self) -> None:
        data, owner = self.directory / "data", self._identity()
        data.mkdir()
        options = f"size=256m,mode=700,uid={owner['user']},gid={owner['group']}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(data)], check=True)
        super()._prepare()
        with (data / "postgresql.conf").open("a") as settings:
            settings.write("max_wal_size = 64MB\nmin_wal_size = 32MB\n")

    def _discard(self) -> None:
        if os.getpid() == self._owner and self.directory.joinpath("data").is_mount():
            self.kill()
            subprocess.run(["umount", "--lazy", str(self.directory / "data")], check=True)
        super()._discard()


def exhaust(server: PostgreSQL, seconds: float) -> None:
    """Take each connection that the server has, or that becomes free, and give them back after some time."""
    taken = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            taken.append(server.connect())
        except psycopg.OperationalError:
            time.sleep(0.01)
    for connection in taken:
        connection.close()
