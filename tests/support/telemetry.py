"""What OpenTelemetry's SDK collected in memory."""

from typing import Any

from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Measured:
    """Metrics, without what was there before."""

    def __init__(self, reader: InMemoryMetricReader) -> None:
        self._reader = reader
        self._before = self._read()

    def _read(self) -> dict[Any, Any]:
        data = self._reader.get_metrics_data()
        return {
            (metric.name, frozenset(point.attributes.items())): point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        }

    def _since(self, name: str, what: str, attributes: dict[str, object]) -> float:
        key = name, frozenset(attributes.items())
        found, before = self._read().get(key), self._before.get(key)
        return (getattr(found, what) if found else 0) - (getattr(before, what) if before else 0)

    def value(self, name: str, **attributes: object) -> float:
        """Return by how much a counter has grown."""
        return self._since(name, "value", attributes)

    def times(self, name: str, **attributes: object) -> tuple[float, float]:
        """Return how many values a histogram was given, and their sum."""
        return self._since(name, "count", attributes), self._since(name, "sum", attributes)

    def now(self, name: str, **attributes: object) -> float | None:
        """Return the value of a gauge."""
        found = self._read().get((name, frozenset(attributes.items())))
        return None if found is None else found.value


class Spans:
    """Spans that have ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def named(self, name: str) -> list[ReadableSpan]:
        """Return those with that name."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def only(self, name: str) -> ReadableSpan:
        """Return the only one with that name."""
        (span,) = self.named(name)
        return span
