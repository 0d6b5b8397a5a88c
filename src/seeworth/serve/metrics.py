"""What /metrics tells, in Prometheus' form: requests, photos, batches, what waits. One registry for each app. Knows nothing of requests."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter("seeworth_requests", "Requests answered", ["path", "status"], registry=self.registry)
        self.seconds = Histogram(
            "seeworth_request_seconds", "From the headers to the end of the answer", ["path"], buckets=SECONDS, registry=self.registry
        )
        self.photos = Counter("seeworth_photos", "Photos by what became of them", ["outcome"], registry=self.registry)
        self.tokens = Counter("seeworth_chat_tokens", "Tokens of chats", ["kind"], registry=self.registry)
        self.dropped = Counter("seeworth_dropped", "Answers that nobody waited for any more", registry=self.registry)
        self.waiting = Gauge("seeworth_waiting", "Photos and chats taken and not answered yet", registry=self.registry)
        self.bodies = Gauge("seeworth_body_bytes", "Bytes of request bodies in memory", registry=self.registry)
        self._rows = Histogram("seeworth_batch_rows", "Photos or chats answered together", buckets=ROWS, registry=self.registry)
        self._batch = Histogram("seeworth_batch_seconds", "Seconds of a batch", buckets=SECONDS, registry=self.registry)

    def batch(self, rows: int, seconds: float) -> None:
        """A batch was answered."""
        self._rows.observe(rows)
        self._batch.observe(seconds)

    def page(self) -> bytes:
        """The page."""
        return generate_latest(self.registry)
