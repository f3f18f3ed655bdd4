"""What a fault strikes."""

import random
import threading
from collections.abc import Callable
from pathlib import Path

from tests.chaos.ledger import Run
from tests.support.servers import Broker, Database
from tests.support.workers import Worker

#: Quick enough; the ratios are those of the defaults.
QUICK = {"LEASE": 3, "SWEEP_INTERVAL": 0.5, "REPUBLISH_AFTER": 3}
#: Processes of a worker.
CONCURRENCY = 2


class World:
    """What a fault strikes.

    Attributes:
        random: Decides what is left to chance.
        published: For how many keys calls were made.
        all_published: Set when none is left.
        worker_env: Returns what is special about the environment of the worker of a number.
    """

    def __init__(self, run: Run, folder: Path, database: Database | None, broker: Broker | None):
        self.run, self.folder = run, folder
        self.database, self.broker = database, broker
        self.random = random.Random(run.seed)
        self.published = 0
        self.all_published = threading.Event()
        self.workers: list[Worker] = []
        self.worker_env: Callable[[World, int], dict[str, str]] = lambda world, number: {}

    @property
    def the_broker(self) -> Broker:
        assert self.broker is not None
        return self.broker

    def start_worker(self, number: int) -> None:
        """Start the worker of this number, in the place of the one that was."""
        options = ("-I", "tests.chaos.variants", "--prefetch-multiplier", "1")
        env = self.worker_env(self, number)
        self.workers[number : number + 1] = [Worker(*options, concurrency=CONCURRENCY, **env).start()]

    def pid_of(self, number: int) -> int:
        process = self.workers[number].process
        assert process is not None
        return process.pid

    def renew_workers(self) -> None:
        """Stop all workers as a deployment does, and start new ones."""
        for worker in self.workers:
            assert worker.process is not None
            worker.process.terminate()
        for number, worker in enumerate(self.workers):
            worker.stop()
            self.start_worker(number)

    def kill_workers(self) -> None:
        for worker in self.workers:
            worker.kill()
