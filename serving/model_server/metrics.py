"""Metrics for Prometheus, under TensorFlow Serving's names.

Contract: the text format, as prometheus_exporter.cc writes it; the names, labels and buckets are
those of upstream's sources, which the table cites. Times are in microseconds, and of what succeeded
only. The page is bounded: a metric keeps the label values that were counted last. Safe to use from
several threads.
"""

import bisect
import dataclasses
import itertools
import threading
from collections import OrderedDict

REQUESTS = ":tensorflow:serving:request_count"
LATENCY = ":tensorflow:serving:request_latency"
RUNTIME = ":tensorflow:serving:runtime_latency"
LOADS = ":tensorflow:cc:saved_model:load_attempt_count"
LOAD_TIME = ":tensorflow:cc:saved_model:load_latency"
GRAPH_RUNS = ":tensorflow:core:graph_runs"
GRAPH_TIME = ":tensorflow:core:graph_run_time_usecs"
GRAPH_TIMES = ":tensorflow:core:graph_run_time_usecs_histogram"
_BATCHING = ":tensorflow:serving:batching_session:"
QUEUING = _BATCHING + "queuing_latency"
BATCHES = _BATCHING + "wrapped_run_count"
INPUT_SIZE = _BATCHING + "input_batch_size"
BATCH_SIZE = _BATCHING + "processed_batch_size"
PADDING = _BATCHING + "padding_size"
# The label of requests for models that nobody configured: their names are the clients' to choose.
UNKNOWN_MODEL = "(unknown)"
MOST_SERIES = 1000  # of one metric: combinations of label values


def _buckets(first: float, growth: float, count: int) -> tuple[float, ...]:
    return tuple(first * growth**i for i in range(count))


@dataclasses.dataclass(frozen=True)
class _Metric:
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()  # of a histogram's buckets; a counter has none


_TIMES, _SIZES = _buckets(10, 1.8, 33), _buckets(1, 2, 14)
_METRICS = {
    # servables/tensorflow/util.cc
    REQUESTS: _Metric(("model_name", "status")),
    LATENCY: _Metric(("model_name", "API", "entrypoint"), _TIMES),
    RUNTIME: _Metric(("model_name", "API", "runtime"), _TIMES),
    # TensorFlow's cc/saved_model/loader.cc and core/framework/metrics.cc
    LOADS: _Metric(("model_path", "status")),
    LOAD_TIME: _Metric(("model_path",)),
    GRAPH_RUNS: _Metric(),
    GRAPH_TIME: _Metric(),
    GRAPH_TIMES: _Metric(bounds=_buckets(1000, 2, 20)),
    # batching/batching_session.cc and batching_util.h
    QUEUING: _Metric(("thread_pool_name",), _buckets(100, 1.2, 52)),
    BATCHES: _Metric(),
    INPUT_SIZE: _Metric(bounds=_SIZES),
    BATCH_SIZE: _Metric(bounds=_SIZES),
    PADDING: _Metric(("execution_batch_size",), _SIZES),
}


class Metrics:
    """The counts of one server."""

    def __init__(self):
        self._lock = threading.Lock()
        self._series: dict[str, OrderedDict[tuple[str, ...], _Series]] = {
            name: OrderedDict() for name in _METRICS
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
        self._add(REQUESTS, 1, model, status)
        if status == "OK":
            self._add(LATENCY, seconds * 1e6, model, api, entrypoint)

    def runtime(self, model: str, seconds: float) -> None:
        """Counts the time that a prediction took in TensorFlow; upstream calls its runtime TF1."""
        self._add(RUNTIME, seconds * 1e6, model, "Predict", "TF1")

    def loaded(self, path: str, seconds: float) -> None:
        """Counts a version that was loaded."""
        self._add(LOADS, 1, path, "success")
        self._add(LOAD_TIME, seconds * 1e6, path)

    def not_loaded(self, path: str) -> None:
        """Counts a failed attempt to load a version."""
        self._add(LOADS, 1, path, "fail")

    def graph_run(self, seconds: float) -> None:
        """Counts a run of a signature, of one request or of a batch."""
        self._add(GRAPH_RUNS, 1)
        self._add(GRAPH_TIME, seconds * 1e6)
        self._add(GRAPH_TIMES, seconds * 1e6)

    def batched(self, sizes: list[int]) -> None:
        """Counts a request that is to share a batch: the rows of each of its inputs."""
        for size in sizes:
            self._add(INPUT_SIZE, size)

    def batch(self, waits: list[float], rows: int, padding: int) -> None:
        """Counts a batch.

        Args:
            waits: Seconds that each of its requests waited.
            rows: With those that fill it up.
            padding: The number of those.
        """
        for seconds in waits:
            self._add(QUEUING, seconds * 1e6, "")  # upstream's model server names no pool
        self._add(BATCHES, 1)
        self._add(BATCH_SIZE, rows)
        self._add(PADDING, padding, str(rows))

    def text(self) -> str:
        """All metrics in Prometheus' text format."""
        with self._lock:
            found = {
                name: [(key, list(one.buckets), one.total) for key, one in sorted(series.items())]
                for name, series in self._series.items()
            }
        lines: list[str] = []
        for name, series in sorted(found.items()):
            metric = _METRICS[name]
            lines.append(f"# TYPE {name} {'histogram' if metric.bounds else 'counter'}")
            for values, buckets, total in series:
                labels = dict(zip(metric.labels, values, strict=True))
                if metric.bounds:
                    lines += _histogram(name, labels, metric.bounds, buckets, total)
                else:
                    lines.append(f"{name}{_labels(labels)} {round(total)}")
        return "\n".join(lines) + "\n"

    def _add(self, name: str, value: float, *labels: str) -> None:
        metric = _METRICS[name]
        with self._lock:
            series = self._series[name]
            one = series.get(labels)
            if one is None:
                one = series[labels] = _Series([0] * (len(metric.bounds) + 1))
                if len(series) > MOST_SERIES:
                    series.popitem(last=False)
            series.move_to_end(labels)
            one.buckets[bisect.bisect_right(metric.bounds, value)] += 1
            one.total += value


@dataclasses.dataclass
class _Series:
    """Observations by bucket, the last of which has no bound, and their sum."""

    buckets: list[int]
    total: float = 0.0


def _histogram(
    name: str, labels: dict[str, str], bounds: tuple[float, ...], buckets: list[int], total: float
) -> list[str]:
    counts = list(itertools.accumulate(buckets))
    limits = [*(f"{bound:g}" for bound in bounds), "+Inf"]
    lines = [
        f"{name}_bucket{_labels(labels | {'le': limit})} {count}"
        for limit, count in zip(limits, counts, strict=True)
    ]
    lines.append(f"{name}_sum{_labels(labels)} {total:g}")
    lines.append(f"{name}_count{_labels(labels)} {counts[-1]}")
    return lines


def _labels(values: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items()) + "}"


def _escaped(value: str) -> str:
    """As the text format has it; upstream leaves line breaks as they are, which breaks the page."""
    value = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return value.encode("utf-8", "replace").decode()
