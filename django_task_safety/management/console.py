"""What the command says: answers on stdout as text or JSON, all else on stderr, and an exit code for scripts."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TypeVar

from django.core.management import CommandError
from django.core.serializers.json import DjangoJSONEncoder

from django_task_safety.values import codec

T = TypeVar("T")


class WrongCall(CommandError):
    """The command was called wrongly: exit code 2."""

    def __init__(self, text: str) -> None:
        super().__init__(text, returncode=2)


class SomethingIsWrong(CommandError):
    """The command was understood, and something is not as it should be: exit code 1."""

    def __init__(self, text: str) -> None:
        super().__init__(text, returncode=1)


class Console:
    """Where one call of the command answers, and asks."""

    def __init__(self, stdout: Any, stderr: Any, as_json: bool) -> None:
        self._stdout, self._stderr, self._as_json = stdout, stderr, as_json

    def answer(self, data: Any, lines: Iterable[str]) -> None:
        """Say what was found or done: as one JSON document, or as lines of text."""
        if self._as_json:
            self._stdout.write(json.dumps(data, cls=_Encoder, indent=2, ensure_ascii=False))
        else:
            for line in lines:
                # Titles and errors are other people's: they are not to move a terminal's cursor.
                self._stdout.write(codec.one_line(line))

    def notice(self, text: str) -> None:
        """Say something besides the answer."""
        self._stderr.write(codec.one_line(text), self._stderr.style_func or str)

    def confirm(self, question: str, yes: bool) -> None:
        """Ask before something is done.

        Raises:
            WrongCall: Where nobody is there to answer.
            SomethingIsWrong: Where the answer is no.
        """
        if yes:
            return
        if not sys.stdin.isatty():
            raise WrongCall(f"{question} Nobody is there to answer; add --yes.")
        if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
            raise SomethingIsWrong("Nothing was done.")

    def progress(self, batches: Iterable[T], size: Callable[[T], int]) -> Iterator[T]:
        """Pass batches on, and say on a terminal how many things were in those that are done."""
        done = 0
        for batch in batches:
            yield batch
            done += size(batch)
            self.show(f"{done:,} done")
        self.show("")

    def show(self, text: str) -> None:
        """Replace the line in which a terminal shows how far something is; nothing where stderr is no terminal."""
        if self._stderr.isatty():
            self._stderr.write(f"\r\x1b[K{text}", str, "")
            self._stderr.flush()


class _Encoder(DjangoJSONEncoder):
    """Django's, and the text of what JSON does not know: a task may return anything."""

    def default(self, value: Any) -> Any:
        try:
            return super().default(value)
        except TypeError:
            return codec.printable(repr(value))


def columns(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return rows of a table as lines, with the columns below each other."""
    table = [[codec.one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]


def plural(number: int | Sized, one: str, many: str = "") -> str:
    """Return "1 operation", "2 operations"."""
    count = number if isinstance(number, int) else len(number)
    return f"{count:,} {one if count == 1 else many or one + 's'}"
