"""Task options: the names and their defaults."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from celery import Celery, Task

from django_task_safety.conf import above, below, conf

if TYPE_CHECKING:
    from django_task_safety.record import AbstractOperation

CANCEL = "cancel"
PROTECT = "protect"
KEEP = "keep"
POLICIES = (CANCEL, PROTECT, KEEP)

#: Options that `safe_task` adds to Celery's.
SAFE_OPTIONS = (
    *("on_delete", "subject", "lock", "retry_on", "max_payload", "atomic", "retention"),
    *("redact", "title", "public_result"),
)
#: Options that `idempotent_task` adds to those.
IDEMPOTENT_OPTIONS = ("key", "on_duplicate", "rerun", "match", "version", "period", "retention")


#: Where a request keeps that the protocol has taken it.
ENTERED = "task_safety_entered"

Compensation = Callable[["AbstractOperation", BaseException], Any]
#: Makes what a task needs, and returns the arguments and the keyword arguments of a call.
Example = Callable[[], tuple[Sequence[Any], Mapping[str, Any]]]
RetryRule = Callable[[BaseException], "bool | float | timedelta | None"]

_LIMITS = frozenset({"time_limit", "soft_time_limit"})


class TaskOptions(Task):  # type: ignore[type-arg]
    """What a task says of itself: every option, with its default. `SafeTask` adds the calls."""

    abstract = True

    #: What deleting the object does to the pending operation: CANCEL, PROTECT or KEEP.
    on_delete: str = CANCEL
    #: Which parameter is the object; None for the first model instance.
    subject: str | None = None
    #: At most one pending operation per object holds this name.
    lock: str | None = None
    #: What is retried; None for errors that tend to pass. Also a callable: bool, seconds or timedelta.
    retry_on: type[BaseException] | tuple[type[BaseException], ...] | RetryRule | None = None
    #: Bytes of serialised arguments; None for the setting.
    max_payload: int | None = None
    #: Whether the body runs inside a transaction, which the settling joins.
    atomic: bool = True
    #: How long an ended operation is kept; None for the setting.
    retention: timedelta | float | None = None
    #: Parameters whose values nobody is to read, besides those that the setting names.
    redact: list[str] | tuple[str, ...] = ()
    #: What an operation is called: a format string over the arguments, or a callable of them as keywords; None for the
    #: function's name in words.
    title: str | Callable[..., Any] | None = None
    #: Whether the status page shows the result to whoever may see the operation.
    public_result: bool = False

    #: The options of `idempotent_task`.
    idempotent: bool = False
    key: Any = None
    on_duplicate: str = "return"
    rerun: str = "failed"
    match: Any = None
    version: str | None = None
    period: timedelta | None = None

    #: Retries and crashes together; the first attempt is not one of them.
    max_retries = 5
    #: Seconds before the first retry, doubled with each; False for a fixed ``default_retry_delay``.
    retry_backoff: float | bool = 2.0
    retry_backoff_max: float = 600.0
    retry_jitter: bool = True
    autoretry_for: Iterable[type[BaseException]] = ()
    dont_autoretry_for: Iterable[type[BaseException]] = ()
    default_retry_delay: float | None = None  # type: ignore[assignment]
    #: Celery's automatic retries wrap `run` unless this exists; here they are part of the protocol.
    _orig_run: ClassVar[None] = None

    #: The function of the task, which ``run`` puts the protocol around.
    body: Callable[..., Any]
    compensations: list[Compensation]
    #: What makes an example of a call: none, or one.
    examples: list[Example]
    given_limits: frozenset[str] = frozenset()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("compensations", "examples"):
            if name not in cls.__dict__:
                setattr(cls, name, list(getattr(cls, name, ())))
        # Noted before Celery fills in its own settings: None, said by the project, means no limit.
        cls.given_limits = cls.given_limits | (_LIMITS & cls.__dict__.keys())
        if cls.__dict__.get("match") is not None:
            cls.match = parameter_names(cls.match)

    @classmethod
    def fill_limits(cls, app: Celery) -> None:
        """Take the time limits that neither the task nor the app names from the settings."""
        limits: Any = cls
        if "time_limit" not in cls.given_limits and app.conf.task_time_limit is None:
            limits.time_limit = above(cls.soft_time_limit, conf().TIME_LIMIT)
        if "soft_time_limit" not in cls.given_limits and app.conf.task_soft_time_limit is None:
            limits.soft_time_limit = below(cls.time_limit, conf().SOFT_TIME_LIMIT)


#: What the column for attempts can count to.
MOST_RETRIES = 2**31 - 2


def is_count(value: Any) -> bool:
    """Return whether a value is one that a column of counts holds: a number of retries, for one."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_RETRIES


def classes(value: Any) -> tuple[type[BaseException], ...]:
    """Return one exception class or several as a tuple."""
    return (value,) if isinstance(value, type) else tuple(value)


def parameter_names(value: Any) -> tuple[Any, ...]:
    """Return an option that is a name or several names as a tuple."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return (value,)
    return tuple(value)
