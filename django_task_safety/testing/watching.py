"""Watch what leaves this process, or stays outside its database, while a block runs in this thread."""

import itertools
import logging
import os
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from typing import Any

from celery import Task
from celery.signals import after_task_publish, before_task_publish
from django.conf import settings
from django.core import mail
from django.core.cache import caches
from django.db import connections

from django_task_safety import registry
from django_task_safety.context import current_operation
from django_task_safety.options import TaskOptions
from django_task_safety.testing.caching import portable
from django_task_safety.testing.effects import Effect
from django_task_safety.testing.frames import is_within

#: What is around each effect; it is given the effect before it happens.
Observer = Callable[[Effect], AbstractContextManager[None]]

_PORTS = {"mysql": 3306, "postgresql": 5432}
_CONNECTS = ("connect", "connect_ex")
_SENDS = ("send", "sendall", "sendto", "sendmsg")
#: What a cache asks its server for by these is no call to another system.
_CACHE_READS = ("get", "get_many", "has_key")
_LOGS = logging.Logger.callHandlers.__code__
_WRITES = ("set", "add", "delete", "incr", "touch", "set_many", "delete_many", "clear")


class Watch:
    """Tells an observer of connections and what is sent, mail, messages and writes to caches, while it is entered.

    Args:
        observer: Is told.
        retried: A plain task: its retries, which are messages, do not become any where it runs without a broker.
    """

    def __init__(self, observer: Observer, retried: Any = None) -> None:
        self._observer, self._retried, self._stack = observer, retried, ExitStack()
        self._thread, self._inside = threading.get_ident(), False
        self._streams: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
        self._numbers = itertools.count()
        self._databases = _database_addresses()

    def __enter__(self) -> "Watch":
        for kind in (socket.socket, ssl.SSLSocket):
            for name in (*_CONNECTS, *_SENDS):
                if kind is socket.socket or name in vars(kind):
                    self._patch(kind, name, self._on_socket, self._is_database)
        for alias in settings.CACHES:
            for name in _WRITES:
                self._patch(caches[alias], name, self._on_cache(alias))
            for name in _CACHE_READS:
                self._patch(caches[alias], name, None)
        if hasattr(mail, "outbox"):
            self._stack.enter_context(self._outbox())
        if isinstance(self._retried, Task) and not isinstance(self._retried, TaskOptions):
            self._patch(self._retried, "retry", self._on_retry)
        self._open: list[AbstractContextManager[None]] = []
        # Not weakly: until Celery 5.7 a receiver that dies cuts all that come later off from the senders of messages.
        before_task_publish.connect(self._before_publish, weak=False)
        self._stack.callback(before_task_publish.disconnect, self._before_publish)
        after_task_publish.connect(self._after_publish, weak=False)
        self._stack.callback(after_task_publish.disconnect, self._after_publish)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def _patch(
        self,
        owner: Any,
        name: str,
        effect_of: Callable[..., Effect] | None,
        ignored: Callable[..., bool] = lambda *args: False,
    ) -> None:
        real, own = getattr(owner, name), name in vars(owner)

        def watched(*args: Any, **kwargs: Any) -> Any:
            if self._inside or threading.get_ident() != self._thread or ignored(name, *args):
                return real(*args, **kwargs)
            with self._around(effect_of(name, *args, **kwargs)) if effect_of else self._quiet():
                return real(*args, **kwargs)

        setattr(owner, name, watched)
        self._stack.callback(*((setattr, owner, name, real) if own else (delattr, owner, name)))

    @contextmanager
    def _around(self, effect: Effect) -> Iterator[None]:
        """Tell of an effect; what it does itself, a mail over a socket, belongs to it."""
        with nullcontext() if is_logging() else self._observer(effect), self._quiet():
            yield

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Tell of nothing in the block."""
        self._inside = True
        try:
            yield
        finally:
            self._inside = False

    def _is_database(self, name: str, sock: Any, *args: Any) -> bool:
        """Return whether a driver that is written in Python speaks to a database, whose tables are compared anyway."""
        to = args[0] if name in _CONNECTS else _peer(sock)
        return (tuple(to[:2]) if isinstance(to, tuple) else to) in self._databases

    def _on_socket(self, name: str, sock: Any, *args: Any) -> Effect:
        if name in _CONNECTS:
            return Effect("connection", _address(args[0]))
        to = args[-1] if name == "sendto" else _peer(sock)
        stream = self._streams.setdefault(sock, f"{_address(to)}#{os.getpid()}-{next(self._numbers)}")
        data = b"".join(args[0]) if name == "sendmsg" else bytes(args[0])
        operation = current_operation()
        return Effect("call", data.decode("latin-1"), stream, operation.idempotency_key if operation else "")

    def _on_cache(self, alias: str) -> Callable[..., Effect]:
        def effect_of(name: str, key: Any = None, *args: Any, **kwargs: Any) -> Effect:
            many = list(key) if name.endswith("_many") else [] if key is None else [key]
            arguments = (*(() if key is None else (key,)), *map(portable, args))
            details = (alias, name, arguments, {name: portable(value) for name, value in kwargs.items()})
            return Effect("cache", f"{alias}.{name}({', '.join(map(repr, many))})", details=details)

        return effect_of

    def _on_retry(self, *args: Any, **kwargs: Any) -> Effect:
        return Effect("message", f"{self._retried.name} once more")

    @contextmanager
    def _outbox(self) -> Iterator[None]:
        outbox: list[Any] = mail.outbox
        mail.outbox = _Outbox(self._around, outbox)
        try:
            yield
        finally:
            outbox[:], mail.outbox = mail.outbox, outbox

    def _before_publish(self, sender: Any = None, body: Any = None, **kwargs: Any) -> None:
        # That of a safe task only says that somebody should look at its row.
        if self._inside or registry.safe_task_named(str(sender)) or threading.get_ident() != self._thread:
            return
        around = self._around(Effect("message", f"{sender} {body[:2] if isinstance(body, tuple) else body!r}"))
        around.__enter__()
        self._open.append(around)

    def _after_publish(self, **kwargs: Any) -> None:
        if self._open:
            self._open.pop().__exit__(None, None, None)


class _Outbox(list[Any]):
    def __init__(self, around: Observer, messages: list[Any]) -> None:
        super().__init__(messages)
        self._around = around

    def append(self, message: Any) -> None:
        to = ", ".join(message.recipients())
        with self._around(Effect("mail", f"to {to}: {message.subject}\n{message.body}")):
            super().append(message)


def is_logging() -> bool:
    """Return whether what happens is the way of a record to where it is logged; each attempt says what it does."""
    return is_within(_LOGS)


def _database_addresses() -> set[Any]:
    """Return the addresses of the project's databases: host and port, or a socket's path."""
    found: set[Any] = set()
    for connection in connections.all():
        said = connection.settings_dict
        host, port = said.get("HOST") or "localhost", said.get("PORT") or _PORTS.get(connection.vendor)
        found.add((said.get("OPTIONS") or {}).get("unix_socket") or host)
        if port and not host.startswith("/"):
            found.add((host, int(port)))
            with suppress(OSError):
                found.update(info[4][:2] for info in socket.getaddrinfo(host, int(port)))
    return found


def _address(address: Any) -> str:
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)


def _peer(sock: Any) -> Any:
    try:
        return sock.getpeername()
    except OSError:
        return "?"
