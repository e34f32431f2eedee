"""Metrics for Prometheus: requests, jobs, model versions and this process."""

import time
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ml_backend.service import ProjectOverview

# Labels have a bounded number of values, whatever clients send.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD = "other"
NO_ROUTE = "none"

# Seconds: from an answer from memory to a batch that embeds for as long as Label Studio waits.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 100)


class Metrics:
    """The metrics of one application, in a registry of its own."""

    def __init__(self, overview: Callable[[], Mapping[str, ProjectOverview]]) -> None:
        """Start at 0. `overview` is called at every scrape, and returns an overview of each project."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "ml_backend_requests",
            "Requests answered. The route is 'none' if there is no route, or if the request was refused before.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "ml_backend_request_seconds",
            "Seconds from the head of a request to the end of its response.",
            ["method", "route"],
            registry=self._registry,
            buckets=_BUCKETS,
        )
        self._registry.register(_Projects(overview))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        method = method if method in METHODS else OTHER_METHOD
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


class RequestMetrics:
    """Middleware that counts and times requests by the template of their route, as paths have too many values."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Measure `app`."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count it when it is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # If the application raises, an outer middleware answers with 500.
        status = 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            route = getattr(scope.get("route"), "path_format", NO_ROUTE)
            self._metrics.count(scope["method"], route, status, time.perf_counter() - started)


class _Projects(Collector):
    def __init__(self, overview: Callable[[], Mapping[str, ProjectOverview]]) -> None:
        self._overview = overview

    def collect(self) -> Iterable[GaugeMetricFamily]:
        jobs = GaugeMetricFamily(
            "ml_backend_jobs", "Training jobs since the server started.", labels=["project", "state"]
        )
        models = GaugeMetricFamily(
            "ml_backend_model_info", "1 for the model version that serves.", labels=["project", "version"]
        )
        for project, overview in sorted(self._overview().items()):
            for state, count in sorted(overview.jobs.items()):
                jobs.add_metric([project, state], count)
            if overview.model_version is not None:
                models.add_metric([project, overview.model_version], 1)
        yield jobs
        yield models
