"""The simulation against the backend's source, on tasks that are lines of Python."""

import pytest

from benchmarks.kubeflow_backend import Backend
from tests.kubeflow.scripts import Script, output_of, write_package


def test_an_output_parameter_feeds_another_task_and_its_cache_key(tmp_path):
    package, backend = tmp_path / "p.yaml", Backend(tmp_path / "kfp")
    source = tmp_path / "source"

    def tasks(**told):
        digest = f'write("digest", open({str(source)!r}).read())'
        uncached = {"cachingOptions": {"enableCache": False}}
        return {
            "digest": Script(digest, returns={"digest": "STRING"}, task=uncached),
            "read": Script('print("got", inputs["parameterValues"]["data"])', told=told),
        }

    write_package(package, tasks(data=output_of("digest", "digest")))
    states = {}
    for text in ("one", "one", "two"):
        source.write_text(text)
        run = backend.run(package)
        states.setdefault(text, []).append(run.states())
        if run.tasks["read"].state == "SUCCEEDED":
            assert f"got {text}" in run.tasks["read"].log
    assert states == {
        "one": [
            {"digest": "SUCCEEDED", "read": "SUCCEEDED"},
            {"digest": "SUCCEEDED", "read": "CACHED"},
        ],
        "two": [{"digest": "SUCCEEDED", "read": "SUCCEEDED"}],
    }


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [("NUMBER_INTEGER", " 7\n", 7.0), ("BOOLEAN", "True", True), ("LIST", "[1]", [1])],
)
def test_files_of_output_parameters_are_read_by_their_type(tmp_path, kind, text, value):
    write_package(tmp_path / "p.yaml", {"a": Script(f'write("x", {text!r})', returns={"x": kind})})
    run = Backend(tmp_path / "kfp").run(tmp_path / "p.yaml")
    assert run.tasks["a"].parameters == {"x": value}, run.tasks["a"].log


def test_an_output_parameter_without_value_fails_the_task(tmp_path):
    write_package(tmp_path / "p.yaml", {"a": Script(returns={"x": "STRING"})})
    run = Backend(tmp_path / "kfp").run(tmp_path / "p.yaml")
    assert run.tasks["a"].state == "FAILED"
    assert "outputs/x" in run.tasks["a"].log
