"""OpenTelemetry's SDK, which collects in memory; the package counts and traces during each test here."""

from collections.abc import Iterator

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from django_task_safety import telemetry
from tests.support.telemetry import Measured, Spans


@pytest.fixture(scope="session")
def exporters() -> tuple[InMemoryMetricReader, InMemorySpanExporter]:
    """Set the providers of this process up, which is possible once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("OTEL_SDK_DISABLED", raising=False)
        reader, exporter = InMemoryMetricReader(), InMemorySpanExporter()
        metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))
        tracing = TracerProvider(shutdown_on_exit=False)
        tracing.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(tracing)
    return reader, exporter


@pytest.fixture(autouse=True)
def _connected(exporters: object) -> Iterator[None]:
    telemetry.connect()
    yield
    telemetry.disconnect()


@pytest.fixture
def measured(exporters: tuple[InMemoryMetricReader, InMemorySpanExporter]) -> Measured:
    """What the test adds to the metrics."""
    return Measured(exporters[0])


@pytest.fixture
def spans(exporters: tuple[InMemoryMetricReader, InMemorySpanExporter]) -> Spans:
    """The spans of the test, as they end."""
    exporters[1].clear()
    return Spans(exporters[1])
