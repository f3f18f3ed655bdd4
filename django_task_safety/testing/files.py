"""Files and folders that a piece of work changes: which, what was in them, and how that is put back."""

import gzip
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

#: What is in a file; True for a folder and what else cannot be read, None for nothing at all.
Content = bytes | bool | None

_GZIP = b"\x1f\x8b"
_WRITING = os.O_WRONLY | os.O_RDWR
#: By audit event: how many of its first arguments are paths.
_CHANGES = {
    "os.link": 2,
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.symlink": 2,
    "os.truncate": 1,
    "shutil.rmtree": 1,
}


def content(path: str) -> Content:
    """Return what is there."""
    with suppress(OSError):  # it may not be read
        if os.path.isfile(path):
            return Path(path).read_bytes()
    return True if os.path.lexists(path) else None


def unzipped(found: Content) -> Content:
    """Return what gzip has made smaller, or else what is given: there is a clock in what it writes before that."""
    if isinstance(found, bytes) and found.startswith(_GZIP):
        with suppress(OSError, EOFError, zlib.error):  # a part of it is missing
            return gzip.decompress(found)
    return found


def changed_by(event: str, args: tuple[Any, ...]) -> Iterator[str]:
    """Go through the paths that an audit event is about to change; those in a folder that goes or moves, too."""
    if event == "open":
        names = args[:1] if isinstance(args[2], int) and args[2] & _WRITING else ()
    else:
        names = args[: _CHANGES.get(event, 0)]
    for name in names:
        if isinstance(name, str | bytes | os.PathLike):
            path = os.path.abspath(os.fsdecode(name))
            yield path
            if event in ("os.rename", "shutil.rmtree") and os.path.isdir(path):
                yield from map(str, Path(path).rglob("*"))


def temporary(event: str, args: tuple[Any, ...]) -> str:
    """Return what is made in the system's own folder of temporary files, which are no result; "" if nothing is."""
    if event not in ("tempfile.mkstemp", "tempfile.mkdtemp"):
        return ""
    path = os.path.abspath(os.fsdecode(args[0]))
    return path if os.path.dirname(path) == os.path.abspath(tempfile.gettempdir()) else ""


def opened(event: str, args: tuple[Any, ...]) -> int:
    """Return with which flags a file is about to be made or emptied; 0 if it is not."""
    if event != "open" or not isinstance(args[2], int):
        return 0
    return args[2] & (os.O_TRUNC if os.path.exists(args[0]) else os.O_CREAT)


def open_and_leave(path: str, flags: int) -> None:
    """Make or empty a file, as opening it does, and write nothing."""
    with suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | flags, 0o666))


def put_back(changed: Iterable[tuple[str, Content]]) -> None:
    """Restore files and folders as they were, given what was in them when they were changed."""
    originals: dict[str, Content] = {}
    for path, original in changed:
        originals.setdefault(path, original)
    for path in reversed([path for path, original in originals.items() if original is None]):
        shutil.rmtree(path) if os.path.isdir(path) else Path(path).unlink(missing_ok=True)
    for path, original in originals.items():
        if original is not None and content(path) != original:
            folder = path if original is True else os.path.dirname(path)
            os.makedirs(folder, exist_ok=True)
            if isinstance(original, bytes):
                Path(path).write_bytes(original)
