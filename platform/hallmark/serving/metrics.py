"""What a gateway counts and times, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters and histograms of one gateway.

    Labels take few values: places as they are in the route table, never as they are asked for, and no clients.

    Args:
        gateway: tells its figures from those of other replicas, which answer `/metrics` in turn.
    """

    def __init__(self, gateway: str = "0"):
        self._registry = CollectorRegistry()
        made = {"registry": self._registry, "namespace": "hallmark"}
        self._requests = Counter(
            "requests", "Requests to places that want a key", ["place", "method", "status"], **made
        )
        self._seconds = Histogram(
            "request_seconds", "Time to the answer", ["place", "method"], buckets=_SECONDS, **made
        )
        self._stages = Histogram("stage_seconds", "Time by stage of a verdict", ["stage"], buckets=_SECONDS, **made)
        self._verdicts = Counter("verdicts", "Verdicts by answer and bundle", ["verdict", "bundle"], **made)
        self._enrolled = Counter("references_enrolled", "References that were not enrolled before", **made)
        self._refused = Counter("refused", "Refusals by status and reason", ["status", "reason"], **made)
        self._retries = Counter(
            "retries", "Calls to a stage made again because its replica was lost", ["stage"], **made
        )
        self._compared = Counter("canary_compared", "Verdicts asked of both versions of a bundle", ["agree"], **made)
        self._canary_failed = Counter("canary_failed", "Verdicts that the canary failed to give", **made)
        Gauge("gateway", "1 for each gateway", ["gateway"], **made).labels(gateway).set(1)
        self._gateway = gateway

    def request(self, place: str, method: str, status: int, seconds: float, reason: str | None = None) -> None:
        """Count an answered request."""
        self._requests.labels(place, method, status).inc()
        self._seconds.labels(place, method).observe(seconds)
        if status >= 400:
            self._refused.labels(status, reason or "").inc()

    def verdict(self, label: str, bundle: str, timings_ms: Mapping[str, float]) -> None:
        """Count a verdict and the time of its stages."""
        self._verdicts.labels(label, bundle).inc()
        for stage, spent in timings_ms.items():
            self._stages.labels(stage).observe(spent / 1e3)

    def enrolled(self, count: int) -> None:
        """Count new references."""
        self._enrolled.inc(count)

    def retried(self, stage: str) -> None:
        """Count a call that is made again."""
        self._retries.labels(stage).inc()

    def compared(self, agree: bool) -> None:
        """Count a verdict that both versions of a bundle gave."""
        self._compared.labels("yes" if agree else "no").inc()

    def canary_failed(self) -> None:
        """Count a verdict that the canary failed to give."""
        self._canary_failed.inc()

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)
