"""A progress bar of plain text; where there is no terminal, a line for each new stage."""

import time
from typing import TextIO

WIDTH = 30


class Bar:
    def __init__(self, stream: TextIO):
        self._stream, self._started = stream, time.monotonic()
        self._terminal = stream.isatty()
        self._text = ""

    def show(self, fraction: float, text: str) -> None:
        """Draw how far it is, from 0 to 1, and what happens."""
        done = round(WIDTH * fraction)
        seconds = time.monotonic() - self._started
        line = f"[{'#' * done}{'.' * (WIDTH - done)}] {fraction:4.0%} {seconds:3.0f} s  {text}"
        if self._terminal:
            self._write(f"\r{line:<79.79}")
        elif text != self._text:
            self._write(f"{line}\n")
        self._text = text

    def clear(self) -> None:
        if self._terminal:
            self._write(f"\r{'':79}\r")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
