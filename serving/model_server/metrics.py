"""Metrics for Prometheus, under TensorFlow Serving's names.

Contract: the text format; counters of requests and of loads, a histogram of latencies in
microseconds, of answered requests only. Safe to use from several threads.
"""

import threading
from collections import defaultdict

REQUESTS = ":tensorflow:serving:request_count"
LATENCY = ":tensorflow:serving:request_latency"
LOADS = ":tensorflow:cc:saved_model:load_attempt_count"
_BOUNDS = [10.0 * 1.8**i for i in range(33)]  # microseconds; TensorFlow Serving's own


class Metrics:
    """The counts of one server."""

    def __init__(self):
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str], int] = defaultdict(int)
        self._loads: dict[tuple[str, str], int] = defaultdict(int)
        self._buckets: dict[tuple[str, str], list[int]] = {}
        self._sums: dict[tuple[str, str], float] = defaultdict(float)

    def request(self, model: str, entrypoint: str, status: str, seconds: float) -> None:
        """Counts a request: ``status`` is OK or the name of an error, entrypoint REST or GRPC."""
        with self._lock:
            self._requests[model, status] += 1
            if status == "OK":
                micros, key = seconds * 1e6, (model, entrypoint)
                buckets = self._buckets.setdefault(key, [0] * (len(_BOUNDS) + 1))
                buckets[next((i for i, b in enumerate(_BOUNDS) if micros <= b), -1)] += 1
                self._sums[key] += micros

    def load(self, path: str, status: str) -> None:
        """Counts an attempt to load a version: ``status`` is success or fail."""
        with self._lock:
            self._loads[path, status] += 1

    def text(self) -> str:
        """All metrics in Prometheus' text format."""
        with self._lock:
            lines = [f"# TYPE {REQUESTS} counter"]
            for (model, status), count in sorted(self._requests.items()):
                lines.append(f'{REQUESTS}{{model_name="{model}",status="{status}"}} {count}')
            lines.append(f"# TYPE {LATENCY} histogram")
            for (model, entrypoint), buckets in sorted(self._buckets.items()):
                labels = f'model_name="{model}",API="predict",entrypoint="{entrypoint}"'
                total = 0
                for bound, count in zip([*_BOUNDS, "+Inf"], buckets, strict=True):
                    total += count
                    lines.append(f'{LATENCY}_bucket{{{labels},le="{bound}"}} {total}')
                lines.append(f"{LATENCY}_sum{{{labels}}} {self._sums[model, entrypoint]}")
                lines.append(f"{LATENCY}_count{{{labels}}} {total}")
            lines.append(f"# TYPE {LOADS} counter")
            for (path, status), count in sorted(self._loads.items()):
                lines.append(f'{LOADS}{{model_path="{path}",status="{status}"}} {count}')
        return "\n".join(lines) + "\n"
