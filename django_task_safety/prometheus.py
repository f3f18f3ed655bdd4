"""What `overview` says, as metrics of Prometheus; needs the extra ``prometheus``."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from django_task_safety.overview import Overview, QueueStatus, overview
from django_task_safety.values.clock import as_aware

#: Of each queue: its name, and what it says.
_QUEUE: dict[str, tuple[str, Any]] = {
    "due": ("Operations that are due and not taken", lambda queue: queue.due),
    "oldest_seconds": ("For how long the first of them has been due", lambda queue: queue.oldest),
    "running": ("Operations that run", lambda queue: queue.running),
    "latency_p50_seconds": ("From due to start, the median of the last minutes", lambda queue: queue.latency_p50),
    "latency_p95_seconds": ("From due to start, 95th percentile", lambda queue: queue.latency_p95),
    "heartbeat_seconds": ("How long a heartbeat message takes", lambda queue: queue.heartbeat),
    "workers": ("Running workers that listen to it", lambda queue: len(queue.workers)),
}


class Collector:
    """What `overview` says, as a collector of ``prometheus_client``: for a registry of the project's own, too."""

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, read now."""
        seen = overview()
        yield from _of_all(seen)
        for name, (text, value_of) in _QUEUE.items():
            yield _family(f"queue_{name}", text, ["queue"], _of_queues(seen.queues, value_of))


def _of_all(seen: Overview) -> Iterator[Metric]:
    states = [([str(state)], float(count.number)) for state, count in seen.counts.items()]
    yield _family("operations", "Operations by state; counting stops at 1,000", ["state"], states)
    yield _family("stuck", "Operations that should have moved; counting stops at 1,000", [], [([], seen.stuck)])
    yield _family("problems", "Sentences of the overview's problems", [], [([], len(seen.problems))])
    alive = [([worker.name, worker.host], float(worker.alive)) for worker in seen.workers]
    yield _family("worker_alive", "Whether a worker was heard of lately", ["worker", "host"], alive)
    differ = [([worker.name, worker.host], float(bool(worker.problem))) for worker in seen.workers if worker.alive]
    yield _family("worker_differs", "Whether it runs other versions or settings", ["worker", "host"], differ)
    last = seen.last_sweep
    swept: list[tuple[list[str], float]] = [] if last is None else [([], as_aware(last).timestamp())]
    yield _family("last_sweep_timestamp_seconds", "When somebody swept last", [], swept)


def _of_queues(queues: list[QueueStatus], value_of: Any) -> list[tuple[list[str], float]]:
    found = [(queue.name, value_of(queue)) for queue in queues]
    return [([name], _seconds(value)) for name, value in found if value is not None]


def _seconds(value: Any) -> float:
    return float(value.total_seconds() if hasattr(value, "total_seconds") else value)


def _family(name: str, text: str, labels: list[str], values: list[tuple[list[str], float]]) -> Metric:
    family = GaugeMetricFamily(f"task_safety_{name}", text, labels=labels)
    for said, value in values:
        family.add_metric(said, value)
    return family


def exposition() -> tuple[bytes, str]:
    """Return the metrics as Prometheus reads them, and the type of that."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return generate_latest(registry), CONTENT_TYPE_LATEST
