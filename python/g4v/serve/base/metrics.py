"""What Prometheus is told, in a registry of this server's own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_TOKEN = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)


class Metrics:
    """Counters, histograms and gauges; `text` is what /metrics answers."""

    def __init__(self, version: str, bundle: str, device: str) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, processor time, open files

        def counter(name: str, help: str, *labels: str) -> Counter:
            return Counter(f"g4v_{name}", help, labels, registry=registry)

        def histogram(name: str, help: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
            return Histogram(f"g4v_{name}", help, buckets=buckets, registry=registry)

        self.requests = counter("requests", "requests by outcome", "route", "outcome")
        self.unknown_fields = counter("unknown_fields", "fields of requests that were not known")
        self.prompt_tokens = counter("prompt_tokens", "tokens of prompts, cached ones among them")
        self.cached_tokens = counter("prompt_tokens_cached", "tokens of prompts that were in the cache")
        self.generation_tokens = counter("generation_tokens", "tokens that were decoded")
        self.videos = counter("videos", "videos by outcome", "outcome")
        self.first_token = histogram("time_to_first_token_seconds", "from the request to the first token")
        self.token = histogram("time_per_output_token_seconds", "each token after the first", _TOKEN)
        self.request = histogram("request_seconds", "whole requests of answers and videos")
        self.queue = histogram("queue_seconds", "waiting for a place among the running answers")
        self.video = histogram("video_seconds", "making one video")
        self.video_step = histogram("video_step_seconds", "one denoising step")
        info = Gauge("g4v_build_info", "1", ("version", "bundle", "device"), registry=registry)
        info.labels(version, bundle, device).set(1)

    def watch(self, name: str, help: str, value: Callable[[], float]) -> None:
        """A gauge that is looked at when the metrics are read."""
        Gauge(f"g4v_{name}", help, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)
