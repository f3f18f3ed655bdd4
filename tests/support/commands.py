"""Call ``manage.py task_safety`` as a script does, in this process."""

import io
import json
from typing import Any, NamedTuple

from django.core.management import CommandError, call_command


class Answer(NamedTuple):
    """What a call of the command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Terminal(io.StringIO):
    """Somebody looks at it."""

    def isatty(self) -> bool:
        return True


def task_safety(*arguments: Any, stderr: io.StringIO | None = None) -> Answer:
    """Call the command with these arguments."""
    out, err, code = io.StringIO(), stderr or io.StringIO(), 0
    try:
        call_command("task_safety", *map(str, arguments), stdout=out, stderr=err)
    except CommandError as exc:
        code = exc.returncode
        err.write(str(exc))
    return Answer(code, out.getvalue(), err.getvalue())
