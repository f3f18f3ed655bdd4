"""Private throw-away servers: on a free port of 127.0.0.1, with their data in a temporary directory."""

import atexit
import os
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

import amqp
import psycopg
import pymysql
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

LOCALHOST = "127.0.0.1"


def free_port() -> int:
    # Below the ports the system hands to outgoing connections: one of those could
    # otherwise take the port of a killed server before that is started again.
    while True:
        port = random.randrange(15000, 32000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((LOCALHOST, port))
            return port


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def living() -> dict[int, int]:
    """The parent of each living process; empty on systems without /proc."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = stat.read_bytes().rpartition(b")")[2].split()[:2]
            if state != b"Z":
                parents[int(stat.parent.name)] = int(parent)
    return parents


def descendants(pid: int) -> set[int]:
    parents = living()
    found: set[int] = set()
    generation = {pid}
    while generation:
        generation = {child for child, parent in parents.items() if parent in generation} - found
        found |= generation
    return found


class Server(ABC):
    """One server; `start` it, `kill` and `restart` it at will, and `stop` it in the end."""

    programs: ClassVar[tuple[str, ...]]
    # The account to run as where the tests run as root, which some servers refuse.
    account: ClassVar[str | None] = None
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    patience: ClassVar[float] = 60.0
    #: How its version is asked for; by default the last of its programs, with ``--version``.
    version_command: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.gettempdir(), f"{type(self).__name__.lower()}-{secrets.token_hex(4)}")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._owner = os.getpid()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    @classmethod
    def missing(cls) -> str | None:
        """Why this server cannot be run here, or None if it can."""
        absent = [program for program in cls.programs if cls._find(program) is None]
        if absent:
            return f"{cls.__name__} is not installed (no {', '.join(absent)})"
        try:
            cls._identity()
        except KeyError:
            return f"{cls.__name__} does not run as root, and there is no account {cls.account!r}"
        return None

    @classmethod
    def version(cls) -> str:
        """The number that its program says; "" where it says none."""
        program, *arguments = cls.version_command or (cls.programs[-1], "--version")
        answer = subprocess.run([str(cls._find(program)), *arguments], capture_output=True, text=True, check=False)
        number = re.search(r"\d+(\.\d+)+", answer.stdout)
        return number[0] if number else ""

    def start(self) -> None:
        self.directory.mkdir(mode=0o700)
        atexit.register(self._discard)
        try:
            if identity := self._identity():
                os.chown(self.directory, identity["user"], identity["group"])
            self._prepare()
            self._launch_and_wait()
        except BaseException:
            self._discard()
            raise

    def stop(self) -> None:
        self._terminate()
        self._discard()

    def kill(self) -> None:
        """End it as a power cut would; the data stay as they are on the disk."""
        family: set[int] = set()
        for process in self._processes:
            # Stopped first, so that it starts no more children while they are listed. PostgreSQL's
            # have process groups of their own, so it takes more than killing the group.
            self._signal(process, signal.SIGSTOP)
            family |= descendants(process.pid)
            self._signal(process, signal.SIGKILL)
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._processes:
            process.wait()
        wait_until(lambda: family.isdisjoint(living()), self.patience)
        self._processes.clear()

    def restart(self) -> None:
        """Start it again, on the same port and with the same data."""
        self._terminate()
        self._launch_and_wait()

    def _prepare(self) -> None:  # noqa: B027 - not every server needs it
        """Fill the new directory."""

    @abstractmethod
    def _launch(self) -> None:
        """Spawn the processes of the server."""

    @abstractmethod
    def _ping(self) -> None:
        """Raise unless this very server answers, and not another one that took its port first."""

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.directory), "LC_ALL": "C"}

    @classmethod
    def _search_path(cls) -> list[str]:
        return [os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"]

    @classmethod
    def _find(cls, program: str) -> str | None:
        return shutil.which(program, path=os.pathsep.join(cls._search_path()))

    @classmethod
    def _identity(cls) -> dict[str, Any]:
        if cls.account is None or os.geteuid() != 0:
            return {}
        entry = pwd.getpwnam(cls.account)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def _spawn(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        executable = self._find(program)
        if executable is None:
            raise RuntimeError(self.missing())
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(
                [executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=self._environment(),
                start_new_session=True,
                **self._identity(),
            )
        self._processes.append(process)
        return process

    def _run(self, program: str, *arguments: str) -> None:
        process = self._spawn(program, *arguments)
        if process.wait(self.patience):
            raise RuntimeError(f"{program} failed:\n{self._log()}")
        self._processes.remove(process)

    def _launch_and_wait(self) -> None:
        self._launch()
        if not wait_until(self._answers, self.patience):
            raise RuntimeError(f"{type(self).__name__} does not answer:\n{self._log()}")

    def _answers(self) -> bool:
        if any(process.poll() is not None for process in self._processes):
            raise RuntimeError(f"{type(self).__name__} ended:\n{self._log()}")
        try:
            self._ping()
        except Exception:  # whatever the client makes of a server that is not ready yet
            return False
        return True

    def _log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")[-4000:]

    def _terminate(self) -> None:
        for process in reversed(self._processes):
            with suppress(subprocess.TimeoutExpired):
                process.send_signal(self.stop_signal)
                process.wait(self.patience / 2)
        self.kill()

    def _discard(self) -> None:
        if os.getpid() != self._owner:  # the exit of a forked child is not ours
            return
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self._discard)

    @staticmethod
    def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)


class Database(Server):
    @abstractmethod
    def django_settings(self) -> dict[str, Any]:
        """An entry for DATABASES."""


class PostgreSQL(Database):
    programs = ("initdb", "postgres")
    account = "postgres"
    stop_signal = signal.SIGINT  # "fast": SIGTERM would wait for the clients to go

    def __init__(self, *, durable: bool = False) -> None:
        super().__init__()
        #: Whether commits survive the death of the machine, not only that of the server; that takes its time.
        self.durable = durable

    @property
    def pid(self) -> int:
        return self._processes[0].pid

    def ended(self) -> bool:
        """Whether it was stopped from elsewhere."""
        return all(process.poll() is not None for process in self._processes)

    def stop_immediately(self) -> None:
        """As ``pg_ctl stop --mode=immediate``: what waits in the buffers is not written any more."""
        for postmaster in self._processes:
            postmaster.send_signal(signal.SIGQUIT)
            postmaster.wait()
        self._processes.clear()

    def django_settings(self) -> dict[str, Any]:
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "postgres",
            "HOST": LOCALHOST,
            "PORT": self.port,
            "TEST": {"NAME": "test_task_safety"},
        }

    @classmethod
    def _search_path(cls) -> list[str]:
        # Debian keeps the server's programs off the PATH.
        places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: place.parent.name.zfill(4))
        if pg_config := shutil.which("pg_config"):
            answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
            places.append(Path(answer.stdout.strip()))
        return [*map(str, reversed(places)), *super()._search_path()]

    def _prepare(self) -> None:
        options = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        self._run("initdb", f"--pgdata={self.directory / 'data'}", *options)

    def _launch(self) -> None:
        settings = {
            "listen_addresses": LOCALHOST,
            "port": self.port,
            "unix_socket_directories": self.directory,
            "max_connections": 200,
            "fsync": "on" if self.durable else "off",
            "shared_buffers": "64MB",
        }
        arguments = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        self._spawn("postgres", "-D", str(self.directory / "data"), *arguments)

    def connect(self) -> psycopg.Connection[Any]:
        """Connect to it as its superuser, with a commit for each statement."""
        place = {"host": str(self.directory), "port": self.port, "user": "postgres"}
        return psycopg.connect(**place, connect_timeout=2, autocommit=True)

    def _ping(self) -> None:
        self.connect().close()


class PgBouncer(Database):
    """In front of a PostgreSQL, whose connections its clients share from transaction to transaction."""

    programs = ("pgbouncer",)
    account = "postgres"

    def __init__(self, server: PostgreSQL, *, size: int) -> None:
        super().__init__()
        self.server = server
        #: How many connections it has to each database.
        self.size = size

    def django_settings(self) -> dict[str, Any]:
        # As Django says for poolers of transactions.
        return {**self.server.django_settings(), "PORT": self.port, "DISABLE_SERVER_SIDE_CURSORS": True}

    def _prepare(self) -> None:
        settings = {
            "listen_addr": LOCALHOST,
            "listen_port": self.port,
            "unix_socket_dir": self.directory,
            "auth_type": "any",
            "pool_mode": "transaction",
            "default_pool_size": self.size,
        }
        lines = ["[databases]", f"* = host={LOCALHOST} port={self.server.port} user={self.server.account}"]
        lines += ["[pgbouncer]", *(f"{name} = {value}" for name, value in settings.items())]
        (self.directory / "pgbouncer.ini").write_text("\n".join(lines))

    def _launch(self) -> None:
        self._spawn("pgbouncer", str(self.directory / "pgbouncer.ini"))

    def _ping(self) -> None:
        dsn = f"host={self.directory} port={self.port} user=postgres dbname=postgres connect_timeout=2"
        psycopg.connect(dsn, prepare_threshold=None).close()


class MariaDB(Database):
    programs = ("mariadb-install-db", "mariadbd")
    account = "mysql"

    def __init__(self, *options: str) -> None:
        super().__init__()
        self._options = options

    def django_settings(self) -> dict[str, Any]:
        return {
            "ENGINE": "django.db.backends.mysql",
            "NAME": "mysql",
            "USER": "root",
            "HOST": LOCALHOST,
            "PORT": self.port,
            "OPTIONS": {"charset": "utf8mb4"},
            "TEST": {"NAME": "test_task_safety", "CHARSET": "utf8mb4"},
        }

    def _prepare(self) -> None:
        data = f"--datadir={self.directory / 'data'}"
        options = ("--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")
        self._run("mariadb-install-db", "--no-defaults", data, self._tmpdir, *options)

    @property
    def _tmpdir(self) -> str:
        # Its own: one that starts removes the temporary tables of all that share it.
        return f"--tmpdir={self.directory}"

    def _launch(self) -> None:
        self._spawn(
            "mariadbd",
            "--no-defaults",
            f"--datadir={self.directory / 'data'}",
            f"--socket={self.directory / 'socket'}",
            f"--pid-file={self.directory / 'pid'}",
            self._tmpdir,
            f"--bind-address={LOCALHOST}",
            f"--port={self.port}",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--max-connections=200",
            # Commits survive the death of the server, if not that of the machine.
            "--innodb-flush-log-at-trx-commit=2",
            *self._options,
        )

    def _ping(self) -> None:
        if int((self.directory / "pid").read_text()) != self._processes[0].pid:
            raise ConnectionError("not ready yet")
        pymysql.connect(host=LOCALHOST, port=self.port, user="root", connect_timeout=2).close()


class Broker(Server):
    @property
    @abstractmethod
    def url(self) -> str:
        """The address, as Celery takes it."""


class Redis(Broker):
    """Forgets everything when killed, unless it is `durable`."""

    programs = ("redis-server",)

    def __init__(self, *, durable: bool = False) -> None:
        super().__init__()
        self.durable = durable

    @property
    def url(self) -> str:
        return f"redis://{LOCALHOST}:{self.port}/0"

    def _launch(self) -> None:
        options = {
            "bind": LOCALHOST,
            "port": str(self.port),
            "dir": str(self.directory),
            "unixsocket": str(self.directory / "socket"),
            "save": "",
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "always",
        }
        self._spawn("redis-server", *(text for name, value in options.items() for text in (f"--{name}", value)))

    def _ping(self) -> None:
        path, once = str(self.directory / "socket"), Retry(NoBackoff(), 0)
        with redis.Redis(unix_socket_path=path, socket_timeout=2, retry=once) as client:
            client.ping()


class RabbitMQ(Broker):
    programs = ("epmd", "erl", "rabbitmq-server", "rabbitmqctl")
    version_command = ("rabbitmqctl", "version")

    # With schedulers that wait busily it starts much faster.
    ERLANG_ARGUMENTS = "+sbwt medium +sbwtdcpu medium +sbwtdio medium -kernel inet_dist_use_interface {127,0,0,1}"

    def __init__(self) -> None:
        super().__init__()
        self.distribution_port = free_port()
        self.epmd_port = free_port()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{LOCALHOST}:{self.port}//"

    @classmethod
    def _search_path(cls) -> list[str]:
        # First the real script: Debian's wrapper insists on an account and a home of its own.
        return ["/usr/lib/rabbitmq/bin", *super()._search_path()]

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {
            "ERL_EPMD_ADDRESS": LOCALHOST,
            "ERL_EPMD_PORT": str(self.epmd_port),
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": LOCALHOST,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": self.ERLANG_ARGUMENTS,
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.directory / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory / "logs"),
            "RABBITMQ_LOGS": "-",
        }

    def _prepare(self) -> None:
        (self.directory / "rabbitmq-env.conf").touch()
        (self.directory / "advanced.config").write_text("[].\n")
        (self.directory / "enabled_plugins").write_text("[].\n")
        # A busy machine is no reason to block the publishers.
        (self.directory / "rabbitmq.conf").write_text(
            "disk_free_limit.absolute = 10MB\nvm_memory_high_watermark.relative = 0.9\n"
        )

    def sync(self) -> None:
        """Write what it knows of queues to its files; left to itself, it does that a moment later."""
        self._run("rabbitmqctl", "eval", "ok = mnesia:sync_log(), mnesia:dump_log().")

    def _launch(self) -> None:
        # Left to itself, Erlang would start epmd as a daemon that outlives everything.
        self._spawn("epmd")
        if not wait_until(self._epmd_answers, self.patience):
            raise RuntimeError(f"epmd does not answer:\n{self._log()}")
        self._spawn("rabbitmq-server")

    def _epmd_answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((LOCALHOST, self.epmd_port)) == 0

    def _ping(self) -> None:
        with amqp.Connection(f"{LOCALHOST}:{self.port}", connect_timeout=2):
            pass
