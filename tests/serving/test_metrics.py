"""The metrics page, read by Prometheus' own parser."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from serving.model_server.batching import BatchScheduler
from serving.model_server.config import BatchingParameters
from serving.model_server.metrics import (
    BATCH_SIZE,
    BATCHES,
    GRAPH_RUNS,
    GRAPH_TIME,
    GRAPH_TIMES,
    INPUT_SIZE,
    LATENCY,
    LOAD_TIME,
    LOADS,
    MOST_SERIES,
    PADDING,
    QUEUING,
    REQUESTS,
    RUNTIME,
    Metrics,
)
from serving.model_server.servable import Servable
from tests.serving.numbered import save_numbered


def samples(metrics: Metrics) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Values by name and labels; this parser ends the names of all counters in _total."""
    found: dict = {}
    for family in text_string_to_metric_families(metrics.text()):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found.setdefault(sample.name, {})
            found[sample.name][labels] = sample.value
    return found


@given(
    st.dictionaries(
        st.tuples(
            st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(["OK", "INTERNAL"])
        ),
        st.integers(1, 3),
        max_size=4,
    )
)
def test_any_name_can_be_read_again(counts):
    metrics = Metrics()
    for (name, status), count in counts.items():
        for _ in range(count):
            metrics.request(name, "Predict", "GRPC", status, 0.001)
            metrics.loaded(name, 0.5)
    found = samples(metrics)
    assert found.get(f"{REQUESTS}_total", {}) == {
        (("model_name", name), ("status", status)): count
        for (name, status), count in counts.items()
    }
    for name in (LOADS, LOAD_TIME):
        assert {dict(labels)["model_path"] for labels in found.get(f"{name}_total", {})} == {
            name for name, _ in counts
        }


def test_latencies_have_the_labels_and_bounds_of_upstream():
    metrics = Metrics()
    # The first bound is 10 microseconds, each further one 1.8 times as large.
    for seconds in (5e-6, 1e-5, 20e-6, 1e9):  # a bound belongs to the bucket above it
        metrics.request("gan", "Predict", "GRPC", "OK", seconds)
    metrics.request("gan", "predict", "REST", "OK", 1e-3)
    metrics.request("gan", "Predict", "GRPC", "INTERNAL", 1e-6)
    found = samples(metrics)
    labels = {"model_name": "gan", "API": "Predict", "entrypoint": "GRPC"}

    def bucket(limit: str) -> float:
        return found[f"{LATENCY}_bucket"][tuple(sorted({**labels, "le": limit}.items()))]

    limits = ["10", "18", "32.4", "58.32", "104.976", "188.957", "340.122"]
    assert [bucket(limit) for limit in limits] == [1, 2, 3, 3, 3, 3, 3]
    assert bucket("+Inf") == found[f"{LATENCY}_count"][tuple(sorted(labels.items()))] == 4
    assert len(found[f"{LATENCY}_bucket"]) == 2 * 34
    rest = {"model_name": "gan", "API": "predict", "entrypoint": "REST"}
    assert found[f"{LATENCY}_sum"][tuple(sorted(rest.items()))] == 1000


def test_the_time_in_tensorflow_has_a_histogram_of_its_own():
    metrics = Metrics()
    metrics.runtime("gan", 2e-3)
    found = samples(metrics)
    labels = {"model_name": "gan", "API": "Predict", "runtime": "TF1"}  # upstream's predict_util.cc
    assert found[f"{RUNTIME}_sum"] == {tuple(sorted(labels.items())): 2000}
    assert f"{LATENCY}_sum" not in found


def test_a_metric_keeps_the_labels_that_were_counted_last():
    metrics = Metrics()
    for number in range(MOST_SERIES + 10):
        metrics.loaded(f"/models/gan/{number}", 0.5)
        metrics.loaded("/models/gan/0", 0.5)
        metrics.not_loaded("/models/gan/0")
    found = samples(metrics)
    paths = {dict(labels)["model_path"] for labels in found[f"{LOAD_TIME}_total"]}
    assert len(paths) == MOST_SERIES
    assert "/models/gan/0" in paths and "/models/gan/1" not in paths
    assert (
        found[f"{LOAD_TIME}_total"][(("model_path", "/models/gan/0"),)]
        == (MOST_SERIES + 11) * 500_000
    )


def test_runs_and_batches_are_counted_as_upstream_counts_them(tmp_path):
    """Two requests of two rows are one batch of four, filled up to eight, and one run."""
    metrics = Metrics()
    parameters = BatchingParameters(
        max_batch_size=8, batch_timeout_micros=300_000, allowed_batch_sizes=(2, 8)
    )
    scheduler = BatchScheduler(parameters, metrics)
    save_numbered(tmp_path / "1", 1)
    servable = Servable("toy", 1, tmp_path / "1", scheduler, metrics=metrics)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: servable.run("", {"x": np.zeros(2, "float32")}), range(2)))
    scheduler.close()
    servable.run("loop", {"turns": np.int32(3)})  # has no rows, and so no batch
    found = samples(metrics)
    assert found[f"{GRAPH_RUNS}_total"] == {(): 2} and found[f"{BATCHES}_total"] == {(): 1}
    assert found[f"{GRAPH_TIMES}_count"] == {(): 2}
    assert 0 < found[f"{GRAPH_TIME}_total"][()] < 60e6
    assert found[f"{INPUT_SIZE}_count"] == {(): 2} and found[f"{INPUT_SIZE}_sum"] == {(): 4}
    assert found[f"{BATCH_SIZE}_count"] == {(): 1} and found[f"{BATCH_SIZE}_sum"] == {(): 8}
    assert found[f"{PADDING}_sum"] == {(("execution_batch_size", "8"),): 4}
    pool_name = (("thread_pool_name", ""),)  # CreateBatchingSession gives it none
    assert found[f"{QUEUING}_count"] == {pool_name: 2}
    assert 300_000 < found[f"{QUEUING}_sum"][pool_name] < 60e6
    limits = {
        name: [dict(labels)["le"] for labels in found[f"{name}_bucket"]]
        for name in (GRAPH_TIMES, INPUT_SIZE, QUEUING)
    }
    assert (limits[GRAPH_TIMES][:2], len(limits[GRAPH_TIMES])) == (["1000", "2000"], 20 + 1)
    assert (limits[INPUT_SIZE][-2:], len(limits[INPUT_SIZE])) == (["8192", "+Inf"], 14 + 1)
    assert (limits[QUEUING][:3], len(limits[QUEUING])) == (["100", "120", "144"], 52 + 1)
