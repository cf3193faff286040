"""Settings of the serving check; imports nothing heavy."""

from __future__ import annotations

import dataclasses

from core.config import require


@dataclasses.dataclass(frozen=True)
class ServingCheckConfig:
    """How a candidate is queried on a real model server, and what it must hold."""

    images: int = 16  # real eval images in the larger batch; the other batch is 1
    generate_count: int = 4  # `count` asked of signatures that generate; sampling is slow
    generate_steps: int = 4  # `steps` asked of them: enough to run the loop; servers take 100
    tolerance: float = 1e-5  # server against in-process, of max(1, |value|); CPUs differ by 1e-6
    latency_requests: int = 20  # single requests timed per signature, fewer when they are slow
    max_latency_ms: float = 1000.0  # median of the single requests of every signature
    start_timeout_s: float = 180.0  # process start to AVAILABLE; TensorFlow alone takes 5 to 30 s
    max_memory_mib: float = 3072.0  # of the server; Python's own takes some 700 of it
    request_timeout_s: float = 60.0  # deadline of one request, the first (cold) one included
    tensorflow_serving: bool = False  # ask tensorflow_model_server (on PATH) instead of our server

    def __post_init__(self):
        require(2 <= self.images <= 1024, "images must be between 2 and 1024.")
        require(1 <= self.generate_count <= 64, "generate_count must be between 1 and 64.")
        require(1 <= self.generate_steps <= 100, "generate_steps must be between 1 and 100.")
        require(0 < self.tolerance <= 0.1, "tolerance must be above 0 and at most 0.1.")
        require(3 <= self.latency_requests <= 10_000, "latency_requests must be 3 to 10000.")
        require(self.max_latency_ms > 0, "max_latency_ms must be above 0.")
        require(self.max_memory_mib > 0, "max_memory_mib must be above 0.")
        require(self.start_timeout_s > 0, "start_timeout_s must be above 0.")
        require(self.request_timeout_s > 0, "request_timeout_s must be above 0.")
