"""Where a parameter is annotated with a model, a primary key is taken for the object.

``Note``, ``Note | None``, lists, sets and other collections of them, tuples, and dicts with them as values. The
annotations are read when a task is first called, for then the models are there; one that cannot be resolved says
nothing.
"""

import collections.abc
import inspect
import operator
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from django.db import models

from django_task_safety.errors import InvalidArguments
from django_task_safety.values import codec, references
from django_task_safety.values.references import Reference

#: Returns an argument with references for primary keys; raises `InvalidArguments` for what cannot be an object.
Taker = Callable[[Any], Any]

_ABC = collections.abc
_SEQUENCES = (list, set, frozenset, _ABC.Sequence, _ABC.MutableSequence, _ABC.Set, _ABC.Collection, _ABC.Iterable)
_MAPPINGS = (dict, _ABC.Mapping, _ABC.MutableMapping)


class ObjectParameters:
    """The parameters of a function that are annotated with models.

    Args:
        function: Whose module says what the names in annotations mean.
        signature: How it is called.
    """

    def __init__(self, function: Callable[..., Any], signature: inspect.Signature) -> None:
        self._signature = signature
        #: Position and parameter of those that take objects, and what is made of their arguments.
        self._takers = [
            (position, parameter, taker)
            for position, parameter in enumerate(signature.parameters.values())
            if (taker := _taker_of(function, parameter)) is not None
        ]

    def __bool__(self) -> bool:
        return bool(self._takers)

    def take(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments of a call, passed as they were, with references for primary keys.

        Raises:
            InvalidArguments: For what can be no object of the parameter's model.
        """
        taken, named = list(args), dict(kwargs)
        for position, parameter, taker in self._takers:
            take = partial(_take, parameter, taker)
            if parameter.kind is parameter.VAR_POSITIONAL:
                taken[position:] = map(take, taken[position:])
            elif parameter.kind is parameter.VAR_KEYWORD:
                more = named.keys() - self._signature.parameters.keys()
                named.update({name: take(named[name]) for name in more})
            elif parameter.name in named:
                named[parameter.name] = take(named[parameter.name])
            elif position < len(taken) and parameter.kind is not parameter.KEYWORD_ONLY:
                taken[position] = take(taken[position])
        return taken, named


def unresolved(function: Callable[..., Any], parameter: inspect.Parameter) -> str:
    """Return the text of an annotation in which a name means nothing where the function stands; "" if there is none."""
    return "" if resolved(function, parameter) is not None else str(parameter.annotation)


def resolved(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Return a parameter's annotation, one written as text evaluated; None where it names what is not there."""
    holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    names = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return typing.get_type_hints(holder, globalns=names)[parameter.name]
    except Exception:  # evaluating a text can raise anything
        return None


def _taker_of(function: Callable[..., Any], parameter: inspect.Parameter) -> Taker | None:
    if parameter.annotation is parameter.empty:
        return None
    taker = _taker(resolved(function, parameter))
    return partial(_one_of, [taker], False, True) if taker and parameter.default is None else taker


def _take(parameter: inspect.Parameter, taker: Taker, value: Any) -> Any:
    try:
        return taker(references.parse(value))
    except InvalidArguments as exc:
        takes = inspect.formatannotation(parameter.annotation)
        raise InvalidArguments(f"The parameter {parameter.name!r} takes {takes}: {exc}") from exc


def _taker(annotation: Any) -> Taker | None:
    """Return what makes references of the primary keys in an argument; None where the annotation names no model."""
    annotation = getattr(annotation, "__value__", annotation)  # that of a type alias
    kind, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if kind is None:
        is_model = isinstance(annotation, type) and issubclass(annotation, models.Model)
        return partial(_object, annotation) if is_model else None
    if kind in (typing.Union, types.UnionType):
        return _union(inner)
    if kind in _SEQUENCES or (kind is tuple and inner[1:] == (...,)):
        item = _taker(inner[0])
        return partial(_items, item) if item else None
    if kind is tuple:
        places = [_taker(member) for member in inner]
        return partial(_places, places) if any(places) else None
    if kind in _MAPPINGS:
        item = _taker(inner[1])
        return partial(_values, item) if item else None
    return None


def _union(members: Sequence[Any]) -> Taker | None:
    named = [member for member in members if member is not types.NoneType]
    takers = [taker for member in named if (taker := _taker(member))]
    others = len(takers) < len(named)
    return partial(_one_of, takers, others, len(named) < len(members)) if takers else None


def _one_of(takers: Sequence[Taker], others: bool, nullable: bool, value: Any) -> Any:
    """Take a value as the one member of a union that it can be."""
    known = isinstance(value, Reference | models.Model)
    if (value is None and nullable) or (others and not known):
        return value
    taken, problems = [], []
    for taker in takers:
        try:
            taken.append(taker(value))
        except InvalidArguments as exc:
            problems.append(exc)
    if not taken:
        raise problems[0]
    if len(taken) > 1 and not known:
        raise InvalidArguments(f"{codec.quoted(value)} could be a key of either; pass the object.")
    return taken[0]


def _items(item: Taker, value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise InvalidArguments(f"{codec.quoted(value)} is no list.")
    taken = [item(one) for one in value]
    return value if all(map(operator.is_, taken, value)) else taken


def _places(places: Sequence[Taker | None], value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != len(places):
        raise InvalidArguments(f"{codec.quoted(value)} is no list of {len(places)}.")
    taken = [taker(one) if taker else one for taker, one in zip(places, value, strict=True)]
    return value if all(map(operator.is_, taken, value)) else taken


def _values(item: Taker, value: Any) -> Any:
    if not isinstance(value, dict):
        raise InvalidArguments(f"{codec.quoted(value)} is no dict.")
    taken = {key: item(one) for key, one in value.items()}
    return value if all(map(operator.is_, taken.values(), value.values())) else taken


def _object(model: type[models.Model], value: Any) -> Any:
    if isinstance(value, Reference):
        return value.as_model(model)
    if isinstance(value, models.Model):
        return value if isinstance(value, model) else Reference.to(value).as_model(model)
    return Reference.by_key(model, value)
