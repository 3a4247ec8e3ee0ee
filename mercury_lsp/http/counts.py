"""Counts requests, tokens and passes for Prometheus; no label comes from a client."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from mercury_lsp.http.local import LocalBackend

_SESSIONS = (1, 2, 4, 8, 16, 32, 64)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Counts:
    """The counters of one application."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        self.requests = Counter("mercury_requests", "Requests answered.", ("route", "status"), registry=own)
        about = "Time of a request, to its last byte."
        self.seconds = Histogram("mercury_request_seconds", about, ("route",), registry=own, buckets=_SECONDS)
        self.running = Gauge("mercury_requests_running", "Requests being answered.", registry=own)
        self.cancelled = Counter("mercury_requests_cancelled", "Requests whose client left.", registry=own)
        self.tokens = Counter("mercury_tokens", "Tokens of middles.", registry=own)
        self.passes = Counter("mercury_task_passes", "Forward passes, by the tasks in them.", registry=own)
        self.read = Counter("mercury_prompt_tokens", "Tokens of prompts.", registry=own)
        self.cached = Counter(
            "mercury_prompt_tokens_cached", "Those that had been read before.", registry=own
        )

    def text(self) -> str:
        """Return the counters in Prometheus' text format."""
        return generate_latest(self._registry).decode()


class EngineCounts(Collector):
    """The counters of a `LocalBackend`, and gauges that are computed when Prometheus reads them."""

    def __init__(self, backend: LocalBackend) -> None:
        self._registry = own = CollectorRegistry()
        self._backend = backend
        self.queued = Histogram(
            "mercury_queue_seconds", "Wait of a task for its turn.", registry=own, buckets=_SECONDS
        )
        self.failed = Counter("mercury_tasks_failed", "Tasks that an error ended.", registry=own)
        self.cancelled = Counter("mercury_tasks_cancelled", "Tasks that ended between passes.", registry=own)
        own.register(self)

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        sessions, slots = self._backend.sessions, self._backend.slots
        yield GaugeMetricFamily("mercury_ready", "Whether the model is loaded.", slots is not None)
        kept, used, waiting = (sessions.kept, sessions.used, sessions.waiting) if sessions else (0, 0, 0)
        yield GaugeMetricFamily("mercury_sessions", "Sessions with a cache.", kept)
        yield GaugeMetricFamily("mercury_tasks_running", "Tasks being computed.", used)
        yield GaugeMetricFamily("mercury_tasks_waiting", "Tasks that wait.", waiting)
        passes = dict(slots.passes) if slots is not None else {}
        buckets = [
            (str(most), float(sum(count for size, count in passes.items() if size <= most)))
            for most in _SESSIONS
        ]
        yield HistogramMetricFamily(
            "mercury_pass_sessions",
            "Forward passes of the network, by the sessions in each.",
            [*buckets, ("+Inf", float(sum(passes.values())))],
            float(sum(size * count for size, count in passes.items())),
        )

    def text(self) -> str:
        """Return the counters in Prometheus' text format."""
        return generate_latest(self._registry).decode()
