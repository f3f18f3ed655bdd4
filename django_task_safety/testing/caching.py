"""The caches of a process that was forked for a run: what is written to them outlives the run, and no longer."""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache

from django_task_safety.testing.effects import Effect

_USUAL = ...
#: Those that end with their process.
_IN_MEMORY = (LocMemCache, DummyCache)


def isolate(prefix: str) -> None:
    """Have this process's keys be no other's, in caches that others use as well."""
    for cache in _shared():
        cache.key_prefix = f"{prefix}{cache.key_prefix}"


def replay(effects: Iterable[Effect]) -> None:
    """Write once more what another process wrote to caches that ended with it: a real one outlives it."""
    for effect in effects:
        if effect.kind == "cache":
            alias, name, args, kwargs = effect.details
            if isinstance(caches[alias], _IN_MEMORY):
                usual = {name: DEFAULT_TIMEOUT if value is _USUAL else value for name, value in kwargs.items()}
                getattr(caches[alias], name)(*(DEFAULT_TIMEOUT if arg is _USUAL else arg for arg in args), **usual)


def portable(value: Any) -> Any:
    """Return an argument as another process understands it: the usual timeout is an object of each process."""
    return _USUAL if value is DEFAULT_TIMEOUT else value


def keys_of(effects: Iterable[Effect]) -> set[tuple[str, Any]]:
    """Return where something was written, by alias and key."""
    found = set[tuple[str, Any]]()
    for effect in effects:
        if effect.kind == "cache":
            alias, name, args, _ = effect.details
            keys = args[0] if name.endswith("_many") else args[:1]
            found.update((alias, key) for key in keys)
    return found


def values(keys: Iterable[tuple[str, Any]]) -> dict[tuple[str, Any], Any]:
    """Return what is cached under those keys."""
    return {(alias, key): caches[alias].get(key) for alias, key in keys}


def remove(keys: Iterable[tuple[str, Any]]) -> None:
    """Remove from the caches that others use what this process has written."""
    shared = _shared()
    for alias, key in keys:
        if caches[alias] in shared:
            caches[alias].delete(key)


def cleared(effects: Iterable[Effect]) -> dict[tuple[str, Any], Any]:
    """Return which caches were emptied."""
    return {
        (effect.details[0], "cleared"): True
        for effect in effects
        if effect.kind == "cache" and effect.details[1] == "clear"
    }


def _shared() -> list[Any]:
    every = [caches[alias] for alias in settings.CACHES]
    # Those in a database are copied with it.
    return [cache for cache in every if not isinstance(cache, (*_IN_MEMORY, DatabaseCache))]
