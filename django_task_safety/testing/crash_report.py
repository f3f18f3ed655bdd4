"""What became of a task that died at each of its points."""

import dataclasses

from django_task_safety.testing.journal import Point

_SHOWN = 40


@dataclasses.dataclass(frozen=True)
class Unsafe:
    """A point at which a death leaves something else than a clean run does."""

    point: Point
    #: Row by row, call by call.
    differences: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join([str(self.point), *(f"  {line}" for line in self.differences[:_SHOWN])])


@dataclasses.dataclass(frozen=True)
class CrashReport:
    """What `assert_crash_safe` has found; as text, the first unsafe point, and a table of all others."""

    name: str
    points: tuple[Point, ...]
    unsafe: tuple[Unsafe, ...]
    #: What was not compared, since two clean runs differ in it.
    masked: tuple[str, ...] = ()
    #: What is to be known about the kind of task.
    note: str = ""

    def __str__(self) -> str:
        lines = [f"{self.name}: {len(self.points)} points, {len(self.unsafe)} of them unsafe."]
        if self.unsafe:
            lines.append(f"The first is {self.unsafe[0]}")
        if self.unsafe[1:]:
            width = max(len(one.point.line) for one in self.unsafe)
            lines += ["The others are"]
            lines += [f"  {one.point.line:{width}}  {one.point.name}  {one.differences[0]}" for one in self.unsafe[1:]]
        if self.masked:
            lines.append(f"Two clean runs differ in this, which was not compared: {', '.join(self.masked)}.")
        if self.unsafe and self.note:
            lines.append(self.note)
        return "\n".join(lines)


class NotCrashSafe(AssertionError):
    """A death of the process at some point leaves something else than a clean run; ``report`` is the `CrashReport`."""

    def __init__(self, report: CrashReport) -> None:
        super().__init__(str(report))
        self.report = report
