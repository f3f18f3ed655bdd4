"""How a task is called, and by which names its arguments are known.

A decorator below the task may fill in arguments or take some away. What a call may look like is then said by the
decorator, as with plain tasks, and the names still by the function below it.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from django_task_safety.errors import InvalidArguments
from django_task_safety.options import TaskOptions, parameter_names

_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@lru_cache(maxsize=4096)
def signature_of(task: TaskOptions) -> inspect.Signature:
    """Return the signature of the task's function, below its decorators and without ``self``."""
    return inspect.signature(task.run)


@lru_cache(maxsize=4096)
def _called(task: TaskOptions) -> inspect.Signature:
    """Return the signature of what is called: the outermost decorator, where there are any."""
    called, named = inspect.signature(task.body, follow_wrapped=False), signature_of(task)
    return named if called == named else called


def signature_for(task: TaskOptions, args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.Signature:
    """Return the signature by which these arguments have names. Raises `InvalidArguments` if they do not fit, or if a
    decorator hides which of them is the one that an option names."""
    named, called = signature_of(task), _called(task)
    problem = _misfit(called, args, kwargs)
    if problem:
        raise InvalidArguments(f"{task.name}{called} cannot be called like this: {problem}.")
    if named is called or not _misfit(named, args, kwargs):
        return named
    wanted = _wanted(task)
    for signature in _changed_by_a_decorator(list(named.parameters.values())):
        if not _misfit(signature, args, kwargs) and wanted <= _said(signature, args, kwargs):
            return signature
    if wanted:
        raise InvalidArguments(
            f"{task.name}{named} has a decorator that changes its arguments, so that it is not sure which is "
            f"{', '.join(sorted(wanted))}. Pass that by keyword."
        )
    return called


def _misfit(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    try:
        signature.bind(*args, **kwargs)
    except TypeError as exc:
        return str(exc)
    return ""


def _wanted(task: TaskOptions) -> set[str]:
    """Return the parameters that the task's options name."""
    options = (task.subject, task.match, task.version, None if callable(task.key) else task.key)
    return {name for option in options if option is not None for name in parameter_names(option)}


def _changed_by_a_decorator(parameters: list[inspect.Parameter]) -> Iterator[inspect.Signature]:
    """Yield what a call may look like: a decorator takes keywords, fills in the first arguments, or any others."""
    rest = list(parameters)
    while True:
        yield _taking_keywords(rest)
        if not rest or rest[0].kind in (*_VARIABLE, inspect.Parameter.KEYWORD_ONLY):
            break
        del rest[0]
    yield _taking_keywords([one if one.kind in _VARIABLE else one.replace(default=None) for one in parameters])


def _taking_keywords(parameters: list[inspect.Parameter]) -> inspect.Signature:
    if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        parameters = [*parameters, inspect.Parameter("decorator_kwargs", inspect.Parameter.VAR_KEYWORD)]
    return inspect.Signature(parameters)


def _said(signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> set[str]:
    """Return the parameters that the call gives, or that have a default of their own."""
    defaults = {name for name, one in signature.parameters.items() if one.default not in (one.empty, None)}
    return {*signature.bind(*args, **kwargs).arguments, *defaults}


def merged(
    task: TaskOptions, before: Sequence[Any], args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return the arguments of a retry: the new ones, and those of the call ``before`` that they do not replace, however
    either was passed."""
    old_args, old_kwargs = before
    if args is not None and kwargs is None:
        replaced = _positional(task)[: len(args)]
        return args, {name: value for name, value in old_kwargs.items() if name not in replaced}
    if kwargs is not None and args is None:
        names = _positional(task)
        kept = [kwargs.get(name, value) for name, value in zip(names, old_args, strict=False)]
        given = {name: value for name, value in kwargs.items() if name not in names[: len(old_args)]}
        return [*kept, *old_args[len(kept) :]], given
    return (old_args if args is None else args), (old_kwargs if kwargs is None else kwargs)


def _positional(task: TaskOptions) -> list[str]:
    """Return the parameters that can be passed by position, "" for those that cannot be by keyword."""
    kinds = inspect.Parameter
    return [
        name if one.kind is kinds.POSITIONAL_OR_KEYWORD else ""
        for name, one in signature_of(task).parameters.items()
        if one.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    ]
