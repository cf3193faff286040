"""The simulation against the backend's source, on tasks that are lines of Python."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks import kubeflow_backend as backend_sim
from benchmarks.kubeflow_backend import Backend, Loss, Run
from tests.kubeflow.scripts import Script, constant, output_of, write_package

RETRIED = {
    "maxRetryCount": 2,
    "backoffDuration": "60s",
    "backoffFactor": 2.0,
    "backoffMaxDuration": "604800s",
}
UNCACHED = {"cachingOptions": {"enableCache": False}}
ANSWER = 'os.makedirs(os.path.dirname(outputs["outputFile"]), exist_ok=True)\n'
ANSWER += 'json.dump(answer, open(outputs["outputFile"], "w"))'


def run(folder: Path, tasks: dict[str, Script], kfp: str = "2.17", **given: Any) -> Run:
    """A run of these tasks on an empty backend."""
    write_package(folder / "p.yaml", tasks)
    return Backend(folder / "kfp", kfp=kfp).run(folder / "p.yaml", **given)


def told(log: str) -> Any:
    """The JSON that a task has printed as its last line."""
    return json.loads(log.strip().splitlines()[-1])


def test_an_output_parameter_feeds_another_task_and_its_cache_key(tmp_path):
    package, backend = tmp_path / "p.yaml", Backend(tmp_path / "kfp")
    source = tmp_path / "source"
    digest = f'write("digest", open({str(source)!r}).read())'
    reads = Script(
        'print("got", inputs["parameterValues"]["data"])',
        told={"data": output_of("first", "digest")},
    )
    first = Script(digest, returns={"digest": "STRING"}, task=UNCACHED)
    write_package(package, {"first": first, "read": reads})
    states = {}
    for text in ("one", "one", "two"):
        source.write_text(text)
        done = backend.run(package)
        states.setdefault(text, []).append(done.tasks["read"].state)
        if done.tasks["read"].state == "SUCCEEDED":
            assert f"got {text}" in done.tasks["read"].log
    assert states == {"one": ["SUCCEEDED", "CACHED"], "two": ["SUCCEEDED"]}


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [("NUMBER_INTEGER", " 7\n", 7.0), ("BOOLEAN", "True", True), ("LIST", "[1]", [1])],
)
def test_files_of_output_parameters_are_read_by_their_type(tmp_path, kind, text, value):
    done = run(tmp_path, {"a": Script(f'write("x", {text!r})', returns={"x": kind})})
    assert done.tasks["a"].parameters == {"x": value}, done.tasks["a"].log


def test_an_output_parameter_without_value_fails_the_task(tmp_path):
    task = run(tmp_path, {"a": Script(returns={"x": "STRING"})}).tasks["a"]
    assert task.state == "FAILED" and "outputs/x" in task.log


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.0, "3"), (0.5, "0.5"), (1e21, "1" + 21 * "0"), (True, "true"), ([1, "a"], '[1,"a"]')],
)
def test_whatever_a_string_parameter_gets_becomes_text(tmp_path, value, text):
    show = 'print(json.dumps(inputs["parameterValues"]["x"]))'
    done = run(tmp_path, {"a": Script(show, told={"x": constant(value)})})
    assert told(done.tasks["a"].log) == text


def test_text_for_a_number_fails_the_driver_and_is_never_tried_again(tmp_path):
    task = {"retryPolicy": RETRIED}
    script = Script(told={"x": constant("3")}, types={"x": "NUMBER_INTEGER"}, task=task)
    for kfp in ("2.16", "2.17"):
        done = run(tmp_path / kfp, {"a": script}, kfp=kfp).tasks["a"]
        assert "type mismatch: expect NUMBER_INTEGER" in done.log
        assert (done.state, done.attempts) == ("FAILED", 0)


@pytest.mark.parametrize(
    ("given", "default", "found"),
    [
        ({}, {}, "minio://mlpipeline/v2/artifacts"),
        ({}, {"default_root": "s3://acme/kfp"}, "s3://acme/kfp"),
        ({"pipeline_root": "gs://acme/run/"}, {"default_root": "s3://acme/kfp"}, "gs://acme/run"),
    ],
)
def test_the_root_is_that_of_the_run_or_of_kfp_launcher_and_never_the_packages(
    tmp_path, given, default, found
):
    write_package(tmp_path / "p.yaml", {"a": Script(writes=("x",))})
    assert "defaultPipelineRoot: minio://never/read" in (tmp_path / "p.yaml").read_text()
    backend = Backend(tmp_path / "kfp", **default)
    done = backend.run(tmp_path / "p.yaml", **given)
    uri = backend.artifacts[done.tasks["a"].outputs["x"]]["uri"]
    assert uri.startswith(f"{found}/scripts/{done.id}/a/") and uri.endswith("/x")


def test_an_output_elsewhere_than_below_the_root_of_the_run_is_refused(tmp_path):
    answer = (
        'answer = {"artifacts": {"x": {"artifacts": [{"uri": "minio://mlpipeline/v2/other"}]}}}\n'
    )
    task = run(tmp_path, {"a": Script(answer + ANSWER, writes=("x",))}).tasks["a"]
    assert task.state == "FAILED"
    assert "'minio://mlpipeline/v2/other' does not have expected bucket prefix" in task.log


def test_an_input_of_an_earlier_run_comes_though_its_root_was_another(tmp_path):
    place = 'uri = {}["artifacts"]["x"]["artifacts"][0]["uri"]\n'
    place += 'path = os.environ["INKWELL_LAUNCHER_ROOT"] + "/" + uri.replace("://", "/")\n'
    make = Script(place.format("outputs") + 'open(path, "w").write("kept")', writes=("x",))
    code = place.format("inputs") + "print(open(path).read())"
    show = Script(code, reads={"x": "make.x"}, task=UNCACHED)
    write_package(tmp_path / "p.yaml", {"make": make, "show": show})
    backend = Backend(tmp_path / "kfp")
    backend.run(tmp_path / "p.yaml", pipeline_root="minio://mlpipeline/one")
    done = backend.run(tmp_path / "p.yaml", pipeline_root="s3://acme/two")
    assert done.tasks["make"].state == "CACHED"
    assert done.tasks["show"].log.strip() == "kept"


def test_metadata_come_back_as_ml_metadata_keeps_them(tmp_path):
    said = {"flag": True, "count": 3, "list": [1], "group": {"a": "b"}, "text": "t"}
    said["display_name"] = "mine"
    answer = f'answer = {{"artifacts": {{"x": {{"artifacts": [{{"metadata": {said}}}]}}}}}}\n'
    show = 'print(json.dumps(inputs["artifacts"]["x"]["artifacts"][0]))'
    tasks = {"a": Script(answer + ANSWER, writes=("x",)), "b": Script(show, reads={"x": "a.x"})}
    artifact = told(run(tmp_path, tasks).tasks["b"].log)
    assert artifact["type"] == {"instanceSchema": ""} and artifact["name"].isdecimal()
    assert artifact["metadata"].pop("store_session_info")
    assert artifact["metadata"]["flag"] is not True  # which is 1.0 to Python
    assert artifact["metadata"] == {
        "flag": 1.0,
        "count": 3.0,
        "list": {"list": [1.0]},
        "group": {"struct": {"a": "b"}},
        "text": "t",
        "display_name": "mine",
    }


def test_a_null_in_the_metadata_fails_the_task(tmp_path):
    answer = 'answer = {"artifacts": {"x": {"artifacts": [{"metadata": {"y": None}}]}}}\n'
    task = run(tmp_path, {"a": Script(answer + ANSWER, writes=("x",))}).tasks["a"]
    assert task.state == "FAILED" and "unsupported value type in the metadata field y" in task.log


def test_no_answer_is_an_empty_one_and_a_broken_one_fails(tmp_path):
    done = run(tmp_path / "none", {"a": Script(writes=("x",))})
    assert done.succeeded and set(done.tasks["a"].outputs) == {"x", "executor-logs"}
    done = run(tmp_path / "wrong", {"a": Script('answer = {"artefacts": {}}\n' + ANSWER)})
    assert done.tasks["a"].state == "FAILED" and "artefacts" in done.tasks["a"].log


@pytest.mark.parametrize(
    ("kfp", "place"), [("2.14", "/tmp/kfp_outputs/"), ("2.15", "/minio/mlpipeline/v2/artifacts/")]
)
def test_the_answer_is_beside_the_outputs_since_2_15(tmp_path, kfp, place):
    show = 'print(json.dumps([outputs["outputFile"], os.environ["INKWELL_LAUNCHER_ROOT"]]))'
    path, root = told(run(tmp_path, {"a": Script(show)}, kfp=kfp).tasks["a"].log)
    assert path.removeprefix(root).startswith(place)


@pytest.mark.parametrize(("kfp", "names"), [("2.15", [""]), ("2.16.1", ["-0", "-1"])])
def test_each_attempt_keeps_a_log_of_its_own_since_2_16(tmp_path, kfp, names):
    marker = tmp_path / "marker"
    code = f"first = not os.path.exists({str(marker)!r})\nopen({str(marker)!r}, 'w').close()\n"
    code += 'print("first" if first else "second")\nsys.exit(first)'
    write_package(tmp_path / "p.yaml", {"a": Script(code, task={"retryPolicy": RETRIED})})
    backend = Backend(tmp_path / "kfp", kfp=kfp)
    done = backend.run(tmp_path / "p.yaml")
    assert done.tasks["a"].attempts == 2
    logs = sorted(backend.store.folder.rglob("executor-logs*"))
    assert [path.name.removeprefix("executor-logs") for path in logs] == names
    assert logs[-1].read_text() == "second\n"


def test_the_log_is_an_output_in_the_message(tmp_path):
    show = 'print(json.dumps(outputs["artifacts"]["executor-logs"]["artifacts"]))'
    [logs] = told(run(tmp_path, {"a": Script(show)}).tasks["a"].log)
    assert logs["type"] == {"schemaTitle": "system.Artifact"}
    assert logs["uri"].endswith("/executor-logs-0")


def test_files_are_for_everybody_where_a_command_does_not_say_otherwise(tmp_path):
    show = 'os.mkdir("d")\nopen("f", "w").close()\n'
    show += 'print(json.dumps([os.stat(name).st_mode & 0o777 for name in ("d", "f")]))'
    assert told(run(tmp_path, {"a": Script(show)}).tasks["a"].log) == [0o777, 0o666]


FAILS, MISTAKE, KILLED, DELETED = "sys.exit(1)", "sys.exit(2)", Loss(0.0), Loss(0.0, deleted=True)


@pytest.mark.parametrize(
    ("kfp", "end", "attempts"),
    [
        *(("2.5", FAILS, 3), ("2.5", KILLED, 3), ("2.5", DELETED, 1)),
        *(("2.16", FAILS, 3), ("2.16", MISTAKE, 3), ("2.16", KILLED, 3), ("2.16", DELETED, 1)),
        *(("2.17", FAILS, 1), ("2.17", MISTAKE, 1), ("2.17", KILLED, 1), ("2.17", DELETED, 3)),
    ],
)
def test_argo_tries_one_kind_of_end_again_and_2_17_the_other(tmp_path, kfp, end, attempts):
    code = end if isinstance(end, str) else "import time\ntime.sleep(60)"
    tasks = {"a": Script(code, task={"retryPolicy": RETRIED})}
    lost = end if isinstance(end, Loss) else None
    task = run(tmp_path, tasks, kfp=kfp, lose=lambda name, attempt: lost).tasks["a"]
    assert (task.state, task.attempts) == ("FAILED", attempts)
    assert task.waited == (60 + 120 if attempts == 3 else 0)


@pytest.mark.parametrize(
    ("kfp", "lost", "attempts"),
    [("2.16", KILLED, 1), ("2.16", DELETED, 1), ("2.17", KILLED, 1), ("2.17", DELETED, 3)],
)
def test_without_a_policy_2_17_alone_starts_a_deleted_pod_again(tmp_path, kfp, lost, attempts):
    tasks = {"a": Script("import time\ntime.sleep(60)")}
    task = run(tmp_path, tasks, kfp, lose=lambda *_: lost).tasks["a"]
    assert (task.attempts, task.waited) == (attempts, 0)


def test_a_pod_that_was_lost_once_goes_through_and_its_result_is_kept(tmp_path):
    lose = {("a", 1): DELETED}
    tasks = {"a": Script("import time\ntime.sleep(0.3)", task={"retryPolicy": RETRIED})}
    write_package(tmp_path / "p.yaml", tasks)
    backend = Backend(tmp_path / "kfp")
    done = backend.run(tmp_path / "p.yaml", lose=lambda *which: lose.get(which))
    assert (done.tasks["a"].state, done.tasks["a"].attempts) == ("SUCCEEDED", 2)
    assert backend.run(tmp_path / "p.yaml").tasks["a"].state == "CACHED"


def test_no_task_starts_after_one_has_failed(tmp_path):
    tasks = {
        "bad": Script("sys.exit(1)"),
        "slow": Script("import time\ntime.sleep(0.5)"),
        "later": Script(task={"dependentTasks": ["slow"]}),
    }
    assert run(tmp_path, tasks).states() == {
        "bad": "FAILED",
        "slow": "SUCCEEDED",
        "later": "PENDING",
    }


def test_results_are_kept_for_each_namespace_apart(tmp_path):
    write_package(tmp_path / "p.yaml", {"a": Script()})
    backend = Backend(tmp_path / "kfp")
    states = [
        backend.run(tmp_path / "p.yaml", namespace=namespace).tasks["a"].state
        for namespace in ("one", "two", "one")
    ]
    assert states == ["SUCCEEDED", "SUCCEEDED", "CACHED"]


@pytest.mark.parametrize(
    ("kfp", "given", "found"),
    [
        ("2.17", "[[ScheduledTime]]", r"\[\[ScheduledTime\]\]"),
        ("2.16", "a-[[CurrentTime]]", r"a-20\d{12}"),
        ("2.17", "[[RunUUID]]", r"[0-9a-f-]{36}"),
        ("2.15", "[[CurrentTime]]", r"\[\[CurrentTime\]\]"),
    ],
)
def test_macros_are_replaced_where_upstream_does(tmp_path, kfp, given, found):
    show = Script(
        'print(json.dumps(inputs["parameterValues"]["x"]))',
        told={"x": {"componentInputParameter": "x"}},
    )
    write_package(tmp_path / "p.yaml", {"a": show}, {"x": {"parameterType": "STRING"}})
    done = Backend(tmp_path / "kfp", kfp=kfp).run(tmp_path / "p.yaml", {"x": given})
    assert re.fullmatch(found, told(done.tasks["a"].log))


def test_the_documents_come_in_any_order_and_the_second_may_be_missing(tmp_path):
    path = tmp_path / "p.yaml"
    write_package(path, {"a": Script()})
    spec, platform = yaml.safe_load_all(path.read_text())
    for documents, settings in (([platform, spec], platform), ([spec], {})):
        path.write_text(yaml.safe_dump_all(documents))
        assert backend_sim.load(path) == (spec, settings)
        assert Backend(tmp_path / str(len(documents))).run(path).succeeded
    for documents, words in (([spec, spec], "multiple pipeline"), ([platform], "no pipeline spec")):
        path.write_text(yaml.safe_dump_all(documents))
        with pytest.raises(ValueError, match=words):
            backend_sim.load(path)


def test_a_run_parameter_of_another_type_is_refused():
    parameters = {"x": {"parameterType": "STRING"}, "n": {"parameterType": "NUMBER_INTEGER"}}
    spec = {"root": {"inputDefinitions": {"parameters": parameters}}}
    assert backend_sim.root_parameters(spec, {"x": "1", "n": 2}) == {"x": "1", "n": 2}
    for given in ({"x": 1, "n": 2}, {"x": "1", "n": "2"}, {"x": "1", "n": True}):
        with pytest.raises(ValueError, match="input parameter . requires type"):
            backend_sim.root_parameters(spec, given)


def test_a_value_that_only_the_backend_knows_is_not_made_up(tmp_path):
    script = Script(told={"x": constant("{{$.pipeline_task_uuid}}")})
    assert "NotImplementedError" in run(tmp_path, {"a": script}).tasks["a"].log
