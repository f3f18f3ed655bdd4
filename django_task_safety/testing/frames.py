"""Who has called whom, up to what happens now."""

import inspect
from collections.abc import Iterator
from types import CodeType, FrameType


def callers() -> Iterator[FrameType]:
    """Go through the frames of those who wait for the caller, from the inmost on."""
    here = inspect.currentframe()
    frame = here and here.f_back
    while frame := frame and frame.f_back:
        yield frame


def is_within(code: CodeType) -> bool:
    """Return whether a function is at work."""
    return any(frame.f_code is code for frame in callers())
