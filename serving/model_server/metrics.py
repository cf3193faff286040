"""Metrics for Prometheus, under TensorFlow Serving's names.

Contract: the text format, as prometheus_exporter.cc writes it; counters of requests and of loads,
histograms of latencies in microseconds, of answered requests only. Safe to use from several
threads.
"""

import bisect
import dataclasses
import itertools
import threading
from collections import defaultdict

REQUESTS = ":tensorflow:serving:request_count"
LATENCY = ":tensorflow:serving:request_latency"
RUNTIME = ":tensorflow:serving:runtime_latency"
LOADS = ":tensorflow:cc:saved_model:load_attempt_count"
# The label of requests for models that nobody configured: their names are the clients' to choose,
# and one line for each would fill the memory.
UNKNOWN_MODEL = "(unknown)"
_BOUNDS = [10.0 * 1.8**i for i in range(33)]  # microseconds; TensorFlow Serving's own


class Metrics:
    """The counts of one server."""

    def __init__(self):
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, str], int] = defaultdict(int)
        self._loads: dict[tuple[str, str], int] = defaultdict(int)
        self._latencies: dict[str, dict[tuple[tuple[str, str], ...], _Histogram]] = {
            RUNTIME: {},
            LATENCY: {},
        }

    def request(self, model: str, api: str, entrypoint: str, status: str, seconds: float) -> None:
        """Counts a request.

        Args:
            model: A configured model, or ``UNKNOWN_MODEL``.
            api: The call, as upstream writes it for this entrypoint.
            entrypoint: REST or GRPC.
            status: OK, or the name of an error.
            seconds: Time it took.
        """
        with self._lock:
            self._requests[model, status] += 1
        if status == "OK":
            self._add(LATENCY, seconds, model_name=model, API=api, entrypoint=entrypoint)

    def runtime(self, model: str, seconds: float) -> None:
        """Counts the time that a prediction took in TensorFlow; upstream calls its runtime TF1."""
        self._add(RUNTIME, seconds, model_name=model, API="Predict", runtime="TF1")

    def load(self, path: str, status: str) -> None:
        """Counts an attempt to load a version: ``status`` is success or fail."""
        with self._lock:
            self._loads[path, status] += 1

    def text(self) -> str:
        """All metrics in Prometheus' text format."""
        with self._lock:
            requests, loads = sorted(self._requests.items()), sorted(self._loads.items())
            latencies = {
                name: [(dict(key), list(h.buckets), h.total) for key, h in sorted(found.items())]
                for name, found in self._latencies.items()
            }
        lines = [f"# TYPE {REQUESTS} counter"]
        for (model, status), count in requests:
            lines.append(f"{REQUESTS}{_labels(model_name=model, status=status)} {count}")
        for name, histograms in latencies.items():
            lines.append(f"# TYPE {name} histogram")
            for labels, buckets, total in histograms:
                counts = list(itertools.accumulate(buckets))
                limits = [*(f"{bound:g}" for bound in _BOUNDS), "+Inf"]
                for limit, count in zip(limits, counts, strict=True):
                    lines.append(f"{name}_bucket{_labels(**labels, le=limit)} {count}")
                lines.append(f"{name}_sum{_labels(**labels)} {total:g}")
                lines.append(f"{name}_count{_labels(**labels)} {counts[-1]}")
        lines.append(f"# TYPE {LOADS} counter")
        for (path, status), count in loads:
            lines.append(f"{LOADS}{_labels(model_path=path, status=status)} {count}")
        return "\n".join(lines) + "\n"

    def _add(self, name: str, seconds: float, **labels: str) -> None:
        micros = seconds * 1e6
        with self._lock:
            histogram = self._latencies[name].setdefault(tuple(labels.items()), _Histogram())
            histogram.buckets[bisect.bisect_right(_BOUNDS, micros)] += 1
            histogram.total += micros


@dataclasses.dataclass
class _Histogram:
    """Observations by bucket, the last of which has no bound, and their sum."""

    buckets: list[int] = dataclasses.field(default_factory=lambda: [0] * (len(_BOUNDS) + 1))
    total: float = 0.0


def _labels(**values: str) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items()) + "}"


def _escaped(value: str) -> str:
    """As the text format has it; upstream leaves line breaks as they are, which breaks the page."""
    value = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return value.encode("utf-8", "replace").decode()
