"""What log records say while a task runs: of which operation they are, and nothing that nobody is to read."""

import logging

from django_task_safety.context import current_attempt
from django_task_safety.values import masking
from django_task_safety.values.log_fields import NOTHING, log_fields

_FORMATTER = logging.Formatter()


def mask_record(record: logging.LogRecord) -> bool:
    """Mask a record's text and traceback; a filter of loggers. What has nothing to hide is left as it is."""
    text = record.getMessage()
    masked = masking.mask(text)
    if masked != text:
        record.msg, record.args = masked, ()
        if "data" in vars(record):
            vars(record)["data"] = masking.mask_all(vars(record)["data"])  # Celery's own, for log aggregators
    if record.exc_info:
        traceback = _FORMATTER.formatException(record.exc_info)
        masked = masking.mask(traceback)
        if masked != traceback:
            record.exc_info, record.exc_text = None, masked
    return True


class OperationFilter(logging.Filter):
    """Adds ``operation``, ``task``, ``key`` and ``attempt`` to the records of a running task; a filter of handlers,
    which ``LOGGING`` may name.

    What a record has of its own under such a name, it keeps. Outside of tasks they are "", so that a format may name
    them; those of this package's own lines about an operation are that one's.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; every record passes."""
        attempt = current_attempt()
        said = NOTHING if attempt is None else log_fields(attempt.operation)
        for name, value in said.items():
            vars(record).setdefault(name, value)
        return True


_added = OperationFilter()


def add_fields() -> None:
    """Have the root logger's handlers add them, as far as these do not yet."""
    for handler in logging.getLogger().handlers:
        if _added not in handler.filters:
            handler.addFilter(_added)
