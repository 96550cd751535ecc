"""Prometheus metrics: requests, counted as they are answered; jobs, workers and pictures, read from the database."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from safelight.jobs.job import JobState

if TYPE_CHECKING:
    from safelight.jobs.queue_service import QueueService

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the latency histogram, in seconds: from a health check to a generation that the client waits for."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"})

Label = TypeVar("Label", bound=str)


class Metrics:
    """The metrics of one application."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        labels = ("method", "route")
        self._requests = Counter(
            "safelight_requests",
            "Requests answered, by route and status.",
            (*labels, "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "safelight_request_seconds",
            "Seconds until a request was answered whole.",
            labels,
            buckets=LATENCY_BUCKETS,
            registry=self._registry,
        )

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            method: GET, POST … or WEBSOCKET.
            route: The path template of its route.
            status: The response's status; 0 if there was none.
            seconds: Duration.
        """
        method = method if method in METHODS else "other"  # clients can send any word
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(method, route).observe(seconds)

    def register_service(self, service: QueueService) -> None:
        """Add jobs, workers and pictures, read from the service at each scrape."""
        self._registry.register(_DatabaseCollector(service))

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _DatabaseCollector(Collector):
    def __init__(self, service: QueueService) -> None:
        self._service = service

    def describe(self) -> list[Metric]:
        """Nothing, so that registration does not read the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read the metrics from the database."""
        counts = self._service.store.count_by_state()
        yield _gauge("safelight_jobs", "Jobs that are known, by state.", "state", counts)
        yield GaugeMetricFamily("safelight_queue_length", "Jobs that wait.", value=counts[JobState.QUEUED])
        paused = float(self._service.store.queue_state().paused)
        yield GaugeMetricFamily(
            "safelight_queue_paused", "1 while no further job starts, else 0.", value=paused
        )
        workers = self._service.workers()
        states = Counts(worker["state"] for worker in workers)
        yield _gauge(
            "safelight_workers", "Workers that live, by state.", "state", {"idle": 0, "busy": 0} | states
        )
        memory = {worker["name"]: worker["memory"] for worker in workers}
        yield _gauge("safelight_worker_memory_bytes", "Memory a worker has resident.", "worker", memory)
        yield from _memory_metrics(workers)
        decisions = self._service.gallery.facets().decisions
        about = "Pictures in the gallery, by decision; blocked ones have no file."
        yield _gauge("safelight_pictures", about, "decision", decisions)


def _memory_metrics(workers: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    """What the workers report of the memory of their pictures."""
    about = "Peak memory of a stage of a worker's last picture of a family, as planned or as measured."
    labels = ("worker", "family", "stage", "figure")
    peaks = GaugeMetricFamily("safelight_stage_peak_bytes", about, labels=labels)
    shortages = CounterMetricFamily(
        "safelight_memory_shortages",
        "Pictures during which a worker's memory ran short, so that less was taken.",
        labels=["worker"],
    )
    for worker in workers:
        report = worker["memory_report"] or {}
        for stage in report.get("stages", ()):
            for figure in ("planned", "measured"):
                if stage[figure] is not None:
                    key = [worker["name"], stage["family"], stage["stage"], figure]
                    peaks.add_metric(key, stage[figure])
        if report:
            shortages.add_metric([worker["name"]], report["shortages"])
    yield peaks
    yield shortages


def _gauge(name: str, description: str, label: str, values: Mapping[Label, float]) -> Metric:
    family = GaugeMetricFamily(name, description, labels=[label])
    for value, number in values.items():
        family.add_metric([str(value)], number)
    return family
