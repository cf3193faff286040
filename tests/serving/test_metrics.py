"""The metrics page, read by Prometheus' own parser."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from serving.model_server.metrics import LATENCY, LOADS, REQUESTS, RUNTIME, Metrics


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
            metrics.load(name, "success")
    found = samples(metrics)
    assert found.get(f"{REQUESTS}_total", {}) == {
        (("model_name", name), ("status", status)): count
        for (name, status), count in counts.items()
    }
    assert {dict(labels)["model_path"] for labels in found.get(f"{LOADS}_total", {})} == {
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
