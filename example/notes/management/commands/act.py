import json
import signal
from argparse import ArgumentParser

from django.core.management import call_command
from django.core.management.base import BaseCommand

from notes import bank
from notes.story import count
from notes.story.act import Act
from notes.story.shops import SHOPS


class Command(BaseCommand):
    interrupted = False
    help = "One act of the story, in the folder EXAMPLE_HOME; reports to its caller in lines of JSON."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("side", choices=SHOPS)

    def handle(self, *args: object, side: str, **options: object) -> None:
        signal.signal(signal.SIGTERM, self.interrupt)
        call_command("migrate", verbosity=0)
        bank.open_bank()
        act = Act(SHOPS[side](), self.say)
        act.play()
        self.tell({"inputs": act.cast.inputs(), "tallies": count.tallies(act.cast)})

    def interrupt(self, *args: object) -> None:
        self.interrupted = True

    def say(self, fraction: float, text: str) -> None:
        # Here, and not in the middle of starting or killing a worker.
        if self.interrupted:
            raise KeyboardInterrupt
        self.tell({"fraction": fraction, "text": text})

    def tell(self, what: dict[str, object]) -> None:
        self.stdout.write(json.dumps(what))
        self.stdout.flush()
