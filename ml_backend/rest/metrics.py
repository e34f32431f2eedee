"""What GET /metrics tells Prometheus: requests, jobs, model versions and this process."""

import time
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ml_backend.service import ProjectOverview

# Labels with a bounded number of values, whatever is sent.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER_METHOD = "other"
NO_ROUTE = "none"

# Seconds: from an answer out of memory to a batch that embeds for as long as Label Studio waits.
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 100)


class Metrics:
    """The numbers of one application, in a registry of its own."""

    def __init__(self, overview: Callable[[], Mapping[str, ProjectOverview]]) -> None:
        """Start at 0; `overview` is asked at every look: {project: its overview}."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "ml_backend_requests",
            "Requests answered; route 'none': refused before a route was looked for, or there is none.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "ml_backend_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            ["method", "route"],
            registry=self._registry,
            buckets=_BUCKETS,
        )
        self._registry.register(_Projects(overview))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request was answered."""
        method = method if method in METHODS else OTHER_METHOD
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


class RequestMetrics:
    """Counts and times every request, by the template of its route: paths themselves have no end of values."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Measure `app`."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count it when it is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # What fails without an answer from inside is answered outside of this, with 500.
        status = 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", NO_ROUTE)
            self._metrics.count(scope["method"], route, status, time.perf_counter() - started)


class _Projects(Collector):
    def __init__(self, overview: Callable[[], Mapping[str, ProjectOverview]]) -> None:
        self._overview = overview

    def collect(self) -> Iterable[GaugeMetricFamily]:
        jobs = GaugeMetricFamily("ml_backend_jobs", "Training jobs remembered.", labels=["project", "state"])
        models = GaugeMetricFamily(
            "ml_backend_model_info", "1 for the model version that serves.", labels=["project", "version"]
        )
        for project, found in sorted(self._overview().items()):
            for state, count in sorted(found.jobs.items()):
                jobs.add_metric([project, state], count)
            if found.model_version is not None:
                models.add_metric([project, found.model_version], 1)
        yield jobs
        yield models
