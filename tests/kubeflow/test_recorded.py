"""The client against what a real server of KFP 2.17 answered, and the doubles against it."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import kfp_server_api
import pytest
from rich.console import Console

from pipeline.kubeflow.access import Endpoint, connect
from pipeline.kubeflow.following import follow
from pipeline.kubeflow.logs import pod_names
from pipeline.kubeflow.tasks import api_tasks, details, is_frozen, merged, node_ids
from pipeline.plan import NODES
from tests.kubeflow import argo
from tests.kubeflow.commands import followed, submit
from tests.kubeflow.kfp_server import KfpServer

RECORDED = Path(__file__).parent / "recorded"
FIRST = ("example-gen", "schema", "statistics-gen", "example-validator", "data-gate")


def recorded(name: str) -> dict[str, Any]:
    return json.loads((RECORDED / f"{name}.json").read_text())


class Replay:
    """Answers every GET with the recorded file of its path, and with 404 if there is none."""

    def __init__(self, **files: str):
        answers = {f"/apis/v2beta1/{path}": recorded(name) for path, name in files.items()}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                path = self.path.partition("?")[0]
                found = next((answers[a] for a in answers if path.startswith(a)), None)
                data = json.dumps(found or {"code": 5, "message": "not found"}).encode()
                self.send_response(200 if found is not None else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET

            def log_message(self, *_):
                return None

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = Endpoint(f"http://127.0.0.1:{self._server.server_port}")

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def run_of(name: str) -> Any:
    with Replay(healthz="healthz", runs=name) as replay:
        return connect(replay.endpoint).get_run("any")


def states(name: str) -> dict[str, str]:
    run = run_of(name)
    found = merged(run, NODES, [api_tasks(run, NODES)])
    return {node_id: task.state for node_id, task in found.items()}


def test_an_early_run_shows_its_first_tasks():
    found = states("run-early")
    assert {node_id for node_id, state in found.items() if state == "running"} == {
        "example-gen",
        "schema",
    }
    assert set(found.values()) == {"running", "not run"}


def test_a_run_whose_tasks_are_no_longer_stored_says_which_are_not_known():
    run = run_of("run-succeeded")
    found = merged(run, NODES, [api_tasks(run, NODES)])
    assert is_frozen(run)
    assert [node_id for node_id, task in found.items() if task.state == "done"] == list(FIRST)
    assert found["example-gen"].seconds == 96 and found["data-gate"].seconds == 21
    assert found["transform"].state == found["report"].state == "unknown"


def test_the_driver_that_failed_is_its_tasks_failure():
    found = states("run-failed-driver")
    assert [node_id for node_id, state in found.items() if state == "failed"] == [
        "example-gen",
        "schema",
    ]
    assert found["transform"] == "not run"
    assert not is_frozen(run_of("run-failed-driver"))


def test_a_killed_task_beyond_the_limit_is_not_invented():
    found = states("run-failed-task")
    assert is_frozen(run_of("run-failed-task"))
    assert "failed" not in found.values()
    assert found["gan"] == "unknown"


def test_times_that_say_not_yet_are_no_times():
    run = run_of("run-early")
    found = api_tasks(run, NODES)
    assert found["schema"].seconds is None
    assert run.finished_at.year == 1970


def test_without_the_version_the_nodes_are_those_of_this_code():
    with Replay(healthz="healthz", runs="run-succeeded") as replay:
        client = connect(replay.endpoint)
        assert node_ids(client, replay.endpoint, client.get_run("any")) == list(NODES)


def test_following_the_recorded_run_shows_every_task_and_says_why_some_are_unknown():
    console = Console(width=200, record=True, file=io.StringIO())
    with Replay(healthz="healthz", runs="run-succeeded") as replay:
        code = follow(connect(replay.endpoint), replay.endpoint, "any", console)
    text = console.export_text()
    assert code == 0
    assert (
        sum(line.split()[:1] == [node_id] for node_id in NODES for line in text.splitlines()) == 22
    )
    assert "above 1 MiB" in text and "--ui" in text and "KUBECONFIG" in text


def test_pods_are_looked_for_under_the_names_that_argo_gave_them():
    for name, task in {"run-succeeded": "statistics-gen", "run-early": "schema"}.items():
        run = run_of(name)
        known = {child.pod_name for entry in details(run) for child in entry.child_tasks or []}
        hashes = {pod.rpartition("-")[2] for pod in pod_names(run, task)}
        matching = {node for node in known if node.rpartition("-")[2] in hashes}
        assert len(matching) == 2, "its executor and its driver"


def test_the_double_names_nodes_as_argo_does():
    run = run_of("run-succeeded")
    workflow = "inkwell-gn6nt"
    known = {child.pod_name for entry in details(run) for child in entry.child_tasks or []}
    for task in FIRST:
        for role in ("executor", "driver"):
            node = argo.node_name(workflow, task, role)
            assert f"{workflow}-{argo.fnv(node)}" in known


def shape(value: Any) -> Any:
    """The fields of an answer, without their values."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value)


@pytest.mark.parametrize("state", ["RUNNING", "FAILED"])
def test_the_double_of_a_run_tells_no_more_than_the_server(package, state):
    real_run = recorded("run-early" if state == "RUNNING" else "run-failed-driver")
    with KfpServer() as server:
        run_id = submit(server, package)
        server.script = [{"": state, "schema-driver": "SUCCEEDED", "schema": state}]
        shown = server.look_at_run(run_id)
    assert set(shown) <= set(real_run) | {"created_at"}
    assert "pipeline_spec" not in shown
    real = {json.dumps(sorted(t)) for t in _details(real_run)}
    real |= {json.dumps(sorted(t)) for t in _details(recorded("run-succeeded"))}
    assert {json.dumps(sorted(t)) for t in _details(shown)} <= real
    names = {t.get("display_name") for t in _details(shown)}
    assert {"schema", "schema(0)", "executor", "executor(0)", "schema-driver", "root"} <= names
    ends = {t["end_time"] for t in _details(shown) if t.get("state") == "RUNNING"}
    assert ends == ({"0001-01-01T00:00:00Z"} if state == "RUNNING" else set())


def _details(run: dict[str, Any]) -> list[dict[str, Any]]:
    return run["run_details"]["task_details"]


def test_the_double_stores_no_task_beyond_its_limit(package):
    with KfpServer(stored_tasks=2) as server:
        run_id = submit(server, package)
        done = dict.fromkeys(NODES, "SUCCEEDED")
        server.script = [
            {"": "RUNNING", "example-gen": "SUCCEEDED", "schema": "RUNNING"},
            {"": "SUCCEEDED", **done},
        ]
        server.look_at_run(run_id)
        shown = server.look_at_run(run_id)
    assert shown["state"] == "SUCCEEDED"
    by_name = {t["display_name"]: t["state"] for t in _details(shown) if "display_name" in t}
    assert by_name["schema"] == by_name["root"] == "RUNNING" and "transform" not in by_name
    nameless = [t for t in _details(shown) if "display_name" not in t]
    assert len(nameless) == 16, "as in run-succeeded.json"
    assert len([t for t in _details(recorded("run-succeeded")) if "display_name" not in t]) == 16


def test_pipelines_are_listed_by_namespace_as_the_server_does(package):
    with KfpServer(multi_user=True) as server:
        submit(server, package, namespace="team-a")
        client = connect(Endpoint(server.url))
        body = client.list_pipelines(namespace="team-a")
        [pipeline] = body.pipelines
        real = recorded("pipelines-of-namespace")
        assert {k for k, v in pipeline.to_dict().items() if v} == set(real["pipelines"][0])
        assert recorded("pipelines-without-namespace") == {}
        assert client.list_pipelines().pipelines is None
        assert recorded("healthz-multi-user")["multi_user"] is True


def test_lists_have_the_fields_of_the_servers(package):
    with KfpServer() as server:
        submit(server, package)
        [version], [experiment] = server.versions.values(), server.experiments.values()
    [real] = recorded("versions")["pipeline_versions"]
    assert set(version) == set(real)
    assert set(version["pipeline_spec"]) == set(real["pipeline_spec"])
    assert set(version["pipeline_spec"]["pipeline_spec"]) >= {"root", "deploymentSpec"}
    reals = recorded("experiments")["experiments"]
    assert set(experiment) == set(reals[1])


def test_a_scheduled_run_has_the_fields_of_the_servers_and_a_root_besides(package):
    real = recorded("run-recurring")
    assert real["runtime_config"]["parameters"]["data_fingerprint"] == "[[ScheduledTime]]"
    with KfpServer() as server:
        submit(server, package)
        [version], [experiment] = server.versions.values(), server.experiments.values()
        reference = {key: version[key] for key in ("pipeline_id", "pipeline_version_id")}
        server.recurring["r"] = {
            "display_name": "weekly",
            "experiment_id": experiment["experiment_id"],
            "pipeline_version_reference": reference,
            "runtime_config": real["runtime_config"],
        }
        run = server.runs[server.start("r")]
    assert set(run) | {"run_details"} == set(real) | {"service_account"}
    assert run["runtime_config"] == real["runtime_config"], "nothing is replaced"


def test_pods_are_looked_for_under_names_without_default_retries_too():
    """As before KFP 2.17: the nodes have no number, but the attempts of a task with retries."""
    workflow = "inkwell-x7k2p"
    children = [kfp_server_api.PipelineTaskDetailChildTask(pod_name=f"{workflow}-123")]
    entry = kfp_server_api.V2beta1PipelineTaskDetail(display_name="root", child_tasks=children)
    run = kfp_server_api.V2beta1Run(
        run_details=kfp_server_api.V2beta1RunDetails(task_details=[entry])
    )
    names = list(pod_names(run, "gan"))
    for template, node in (
        ("retry-system-container-impl", "root.gan.executor(1)"),
        ("system-container-impl", "root.gan.executor"),
        ("gan-system-container-impl", "root.gan.executor(0)"),  # 2.5, with retries
        ("system-container-driver", "root.gan-driver"),
    ):
        assert f"{workflow}-{template}-{argo.fnv(f'{workflow}.{node}')}" in names
    assert list(pod_names(kfp_server_api.V2beta1Run(), "gan")) == []


def test_the_followed_double_agrees_with_the_recorded_run(package):
    """The same script of six tasks gives the same table as the recorded answers do."""
    with KfpServer(stored_tasks=6) as server:
        run_id = submit(server, package)
        six = dict.fromkeys((*FIRST, "transform"), "SUCCEEDED") | {"transform": "RUNNING"}
        done = dict.fromkeys(NODES, "SUCCEEDED")
        _, text = followed(server, run_id, [{"": "RUNNING", **six}, {"": "SUCCEEDED", **done}])
    rows = {line.split()[0]: line.split()[1] for line in text.splitlines() if "  " in line}
    real = states("run-succeeded")
    assert {n: rows[n] for n in NODES} == real
