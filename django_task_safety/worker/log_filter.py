"""What nobody is to read is masked in what Celery and this package log of a task that runs."""

import logging

from django_task_safety.values import masking

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
