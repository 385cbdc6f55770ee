"""`GET /metrics`: what Prometheus reads. Nothing is labelled by job, so the number of series is bounded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import cast

import structlog
from kombu.exceptions import OperationalError
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError

from minirec.api_schemas import JOB_KINDS
from minirec.store import Store
from minirec.store.counters import LEASES_EXPIRED, SAMPLES, UNIT_SECONDS, UNITS
from minirec.store.doorbell import QUEUES

log = structlog.get_logger(__name__)

Waiting = Callable[[], dict[str, int]]
METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"})


class HttpMetrics:
    """Durations of requests, per route."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "minirec_http_request_seconds",
            "Time to answer a request, in seconds.",
            ("route", "method", "status"),
            registry=registry,
            buckets=(0.005, 0.02, 0.1, 0.5, 1, 5, 15, 60, 300),
        )

    def observe(self, *, route: str, method: str, status: int, seconds: float) -> None:
        known = method if method in METHODS else "other"
        self._seconds.labels(route, known, str(status)).observe(seconds)


class StoreMetrics(Collector):
    """Jobs, memory, workers and queues as the store has them, read whenever Prometheus asks."""

    def __init__(self, store: Store, waiting: Waiting) -> None:
        self._store = store
        self._waiting = waiting

    def collect(self) -> Iterator[Metric]:
        reachable = GaugeMetricFamily("minirec_store_up", "Whether Redis answered.")
        try:
            metrics = [self._jobs(), self._memory(), *self._workers(), *self._counted()]
        except RedisError as error:
            log.warning("metrics_without_store", error=str(error))
            metrics = []
        reachable.add_metric((), 1 if metrics else 0)
        yield reachable
        yield from metrics
        try:
            yield self._queues()
        except (OperationalError, OSError, RedisError) as error:
            log.warning("metrics_without_broker", error=str(error))

    def _jobs(self) -> Metric:
        gauge = GaugeMetricFamily("minirec_jobs", "Jobs that have not ended.", labels=("kind", "status"))
        states = Counter(self._store.jobs.active_states())
        for kind in JOB_KINDS:
            for status in ("queued", "running", "cancelling"):
                gauge.add_metric((kind.name, status), states[kind.name, status])
        return gauge

    def _memory(self) -> Metric:
        gauge = GaugeMetricFamily("minirec_store_memory_ratio", "Redis memory used, of its limit (0: no limit is set).")
        info = cast("dict[str, int]", self._store.redis.info("memory"))
        limit = info.get("maxmemory", 0)
        gauge.add_metric((), info["used_memory"] / limit if limit else 0.0)
        return gauge

    def _workers(self) -> list[Metric]:
        alive = GaugeMetricFamily("minirec_workers", "Workers that reported within a minute.", labels=("queue",))
        busy = GaugeMetricFamily("minirec_workers_busy", "Those of them that do a shard.", labels=("queue",))
        used = GaugeMetricFamily("minirec_gpu_memory_used_bytes", "Memory in use there.", labels=("worker",))
        memory = GaugeMetricFamily("minirec_gpu_memory_bytes", "Memory of a worker's GPU.", labels=("worker",))
        workers = self._store.workers.alive()
        for queue in QUEUES:
            serving = [worker for worker in workers if queue in worker.queues]
            alive.add_metric((queue,), len(serving))
            busy.add_metric((queue,), sum(worker.doing is not None for worker in serving))
        for worker in workers:
            if worker.gpu_memory_used_bytes is not None and worker.gpu_memory_bytes is not None:
                used.add_metric((worker.name,), worker.gpu_memory_used_bytes)
                memory.add_metric((worker.name,), worker.gpu_memory_bytes)
        return [alive, busy, used, memory]

    def _counted(self) -> list[Metric]:
        """Return what processes without a port of their own count: workers and the janitor."""
        leases = CounterMetricFamily("minirec_leases_expired", "Shards taken back from silent workers.")
        units = CounterMetricFamily(
            "minirec_units", "Shards that workers have left, by what came of them.", labels=("handler", "outcome")
        )
        seconds = CounterMetricFamily("minirec_unit_seconds", "Time spent on shards, in seconds.", labels=("handler",))
        samples = CounterMetricFamily(
            "minirec_samples", "Samples, items or updates of committed shards.", labels=("handler",)
        )
        families = {UNITS: units, UNIT_SECONDS: seconds, SAMPLES: samples}
        counted = self._store.counters.read()
        leases.add_metric((), counted.pop((LEASES_EXPIRED,), 0))
        for (name, *labels), value in sorted(counted.items()):
            if name in families:
                families[name].add_metric(labels, value)
        return [leases, *families.values()]

    def _queues(self) -> Metric:
        gauge = GaugeMetricFamily("minirec_queue_shards", "Messages that no worker has taken yet.", labels=("queue",))
        for queue, size in self._waiting().items():
            gauge.add_metric((queue,), size)
        return gauge
