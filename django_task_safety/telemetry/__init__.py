"""Metrics and traces by OpenTelemetry's API, where that is installed; all of it hangs on the package's signals."""

from django_task_safety.telemetry import metrics, traces


def connect() -> None:
    """Count and trace from now on; once per process."""
    metrics.connect()
    traces.connect()


def disconnect() -> None:
    """Count and trace nothing any more."""
    metrics.disconnect()
    traces.disconnect()
