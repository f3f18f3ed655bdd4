import shutil
import signal
import socket
import tempfile
import time
import webbrowser
from argparse import ArgumentParser
from pathlib import Path
from urllib.request import urlopen

from django.core.management.base import BaseCommand, CommandError

from demo.processes import WORKER, Child
from shop.broker import Server

#: Nobody else can reach it: its settings are those of development.
HOST = "127.0.0.1"
USUAL_PORT = 8000
#: Seconds that the server may take to start, and that a killed worker is away.
STARTING, AWAY = 30, 2


class Command(BaseCommand):
    help = "The example, to click: a server, a worker and a broker of its own, on a database that is thrown away."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, help=f"by default {USUAL_PORT}, or another one where that is taken")
        parser.add_argument("--open", action="store_true", help="open the page in a browser")
        parser.add_argument(
            "--keep", action="store_true", help="keep the database and the logs, and say where they are"
        )

    def handle(self, *args: object, port: int | None, open: bool, keep: bool, **options: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.interrupt)
        bound = bind(port)
        home = Path(tempfile.mkdtemp(prefix="task-safety-demo-"))
        try:
            self.run(home, bound, open)
        except KeyboardInterrupt:
            self.stdout.write("Stopped.")
        finally:
            if keep:
                self.stdout.write(f"Database and logs: {home}")
            else:
                shutil.rmtree(home, ignore_errors=True)

    def interrupt(self, number: int, frame: object) -> None:
        """Clean up, undisturbed by a second Ctrl-C."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    def run(self, home: Path, bound: socket.socket, open: bool) -> None:
        self.stdout.write("Preparing a database of its own …")
        prepare(home)
        server = Child("server", ["demo.serve", str(bound.fileno())], home, inherits=(bound.fileno(),))
        worker = Child("worker", WORKER, home)
        started = []
        try:
            for child in (server, worker):
                child.start()
                started.append(child)
            address = f"http://{HOST}:{bound.getsockname()[1]}/"
            bound.close()
            wait_for(server, address)
            self.say_where(address, open)
            self.watch(server, worker, Server(home / "broker"))
        finally:
            for child in started:
                child.end()
            for child in started:
                child.kill()

    def say_where(self, address: str, open: bool) -> None:
        self.stdout.write(
            f"Click it: {address}\nAdmin:    {address}admin/ (user demo, password demo)\nCtrl-C stops it."
        )
        self.stdout.flush()
        if open:
            webbrowser.open(address)

    def watch(self, server: Child, worker: Child, broker: Server) -> None:
        """Replace a worker that has been killed, as whatever runs workers elsewhere does."""
        while not server.has_ended():
            if worker.has_ended():
                time.sleep(AWAY)
                broker.redeliver()
                worker.start()
            time.sleep(0.1)
        raise CommandError(f"The server has ended:\n{server.log.read_text()[-2000:]}")


def bind(wanted: int | None) -> socket.socket:
    """Return a socket that listens on the port that is wanted, or on one that is free.

    Raises:
        CommandError: The one that is wanted is taken.
    """
    for port in [USUAL_PORT, 0] if wanted is None else [wanted]:
        try:
            return socket.create_server((HOST, port))
        except (OSError, OverflowError) as problem:
            if port == wanted:
                raise CommandError(
                    f"Port {port} cannot be used ({problem}). Without --port a free one is."
                ) from problem
    raise CommandError("No port is free.")


def prepare(home: Path) -> None:
    seed = Child("seed", ["django", "seed"], home)
    seed.start()
    if seed.wait():
        raise CommandError(f"The database could not be prepared:\n{seed.log.read_text()[-2000:]}")


def wait_for(server: Child, address: str) -> None:
    deadline = time.monotonic() + STARTING
    while True:
        try:
            urlopen(address, timeout=STARTING).close()
            return
        except OSError:
            if server.has_ended() or time.monotonic() > deadline:
                raise CommandError(f"The server did not start:\n{server.log.read_text()[-2000:]}") from None
            time.sleep(0.1)
