"""What a check says: that something is wrong, or that it cannot tell, which is not the same as that all is well."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from django.core import checks

from django_task_safety.checks.project import Project


class CannotTell(NamedTuple):
    """What these checks look for cannot be seen from here; ``why`` says what is not known."""

    ids: tuple[str, ...]
    why: str


Finding = checks.CheckMessage | CannotTell
Check = Callable[[Project], Iterable[Finding]]
C = TypeVar("C", bound=Check)

#: How many names a message tells, and how long a reason may be.
_NAMES, _REASON = 8, 300


def about(*ids: str) -> Callable[[C], C]:
    """Say which ids a check answers for: what it cannot tell if it meets something that nobody thought of."""

    def decorator(check: C) -> C:
        vars(check)["ids"] = ids
        return check

    return decorator


def warning(text: str, hint: str, number: str, obj: Any = None) -> checks.CheckMessage:
    """Return a warning; the number is its id."""
    return checks.Warning(text, hint=hint, obj=obj, id=number)


def error(text: str, hint: str, number: str, obj: Any = None) -> checks.CheckMessage:
    """Return an error; the number is its id."""
    return checks.Error(text, hint=hint, obj=obj, id=number)


def named(names: Iterable[str], noun: str = "Task") -> str:
    """Return ``Task a``, ``Tasks a, b``, or the first of them and how many more there are."""
    found = sorted(set(names))
    more = f" and {len(found) - _NAMES} more" if len(found) > _NAMES else ""
    return f"{noun}{'s' if len(found) > 1 else ''} {', '.join(found[:_NAMES])}{more}"


def answers(which: Iterable[Check], project: Project) -> list[checks.CheckMessage]:
    """Return what the checks say of a project, and last, in one message, what they cannot tell."""
    found: list[checks.CheckMessage] = []
    unknown: list[CannotTell] = []
    for check in which:
        for one in _safely(check, project):
            if isinstance(one, CannotTell):
                unknown.append(one)
            else:
                found.append(one)
    return [*found, *_in_one(unknown)]


def _safely(check: Check, project: Project) -> Iterator[Finding]:
    try:
        yield from check(project)
    except Exception as exc:  # odd input must not stop `migrate`
        yield CannotTell(vars(check)["ids"], f"{type(exc).__name__}: {exc}")


def _in_one(unknown: Iterable[CannotTell]) -> Iterator[checks.CheckMessage]:
    silenced = set(getattr(settings, "SILENCED_SYSTEM_CHECKS", ()))
    reasons: dict[str, list[str]] = {}
    for one in unknown:
        ids = [number for number in one.ids if number not in silenced]
        if ids:
            known = reasons.setdefault(f"{one.why:.{_REASON}}", [])
            known += [number for number in ids if number not in known]
    if reasons:
        text = " ".join(f"{', '.join(ids)}: {why.rstrip('.')}." for why, ids in reasons.items())
        hint = "Look for yourself. An id in SILENCED_SYSTEM_CHECKS is left out here as well."
        yield checks.Info(f"Some checks cannot tell. {text}", hint=hint, id="task_safety.I001")
