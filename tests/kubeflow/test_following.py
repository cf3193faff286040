"""``inkwell submit --wait`` and ``inkwell report --run`` on doubles of the servers of a cluster."""

import datetime
import io
import json
import os
import signal
import subprocess
import time
from typing import Any

import kfp_server_api
import pytest
from rich.console import Console

from core.config import InputError
from pipeline.kubeflow import following
from pipeline.kubeflow.access import Endpoint, connect
from pipeline.kubeflow.following import follow
from pipeline.kubeflow.tasks import Seen, api_tasks, merged
from pipeline.plan import NODES
from tests.conftest import ROOT
from tests.kubeflow import argo
from tests.kubeflow.commands import followed, inkwell, run_inkwell, submit
from tests.kubeflow.kfp_server import API, KfpServer
from tests.kubeflow.kubernetes_server import KubernetesServer, pod

DONE = dict.fromkeys(NODES, "SUCCEEDED")
ALL_DONE = {"": "SUCCEEDED", **DONE}
BUCKET = "minio://mlpipeline/inkwell"
PAGE = b"<!doctype html><title>Report</title>"


@pytest.fixture
def server():
    """The API server alone, as ``kubectl port-forward svc/ml-pipeline`` reaches it."""
    with KfpServer() as running:
        yield running


@pytest.fixture
def web():
    """KFP's web page, of a run whose tasks are not stored after the sixth."""
    with KfpServer(web=True, stored_tasks=6) as running:
        add_outputs(running)
        yield running


def add_outputs(server: KfpServer, root: str = BUCKET) -> None:
    """What the nodes of a run leave: two models pushed, one refused; and the report."""
    for model, short in (("autoencoder", "ae"), ("diffusion", "diffusion"), ("gan", "gan")):
        good = short != "gan"
        reason = "" if good else "The evaluation refused the model: precision 0.5, at least 0.9."
        server.outputs[f"evaluate-{short}"] = {
            "evaluation": (f"{root}/{short}/evaluation", {}),
            "blessing": (f"{root}/{short}/blessing", {"blessed": int(good), "reason": reason}),
        }
        server.outputs[f"serving-check-{short}"] = {
            "blessing": (f"{root}/{short}/infra", {"blessed": 1})
        }
        pushed: dict[str, Any] = {"pushed": int(good), "reason": reason}
        if good:
            pushed = {
                "pushed": 1,
                "pushed_version": "17",
                "pushed_destination": f"/models/{model}/17",
            }
        server.outputs[f"push-{short}"] = {"pushed_model": (f"{root}/{short}/pushed", pushed)}
    server.outputs["report"] = {"report": (f"{root}/report/9/report", {})}
    if server.page:
        server.page.files[f"{root}/report/9/report/index.html"] = PAGE
        server.page.known.add(f"{root}/report/9/report")


def rows(text: str) -> dict[str, list[str]]:
    """State and seconds of every node in the closing table."""
    words = [line.split() for line in text.splitlines()]
    return {w[0]: w[1:] for w in words if w and w[0] in NODES}


def test_the_package_is_uploaded_the_run_started_and_followed_to_its_end(server, package):
    server.script = [
        {"": "RUNNING", "schema-driver": "RUNNING"},
        {"": "RUNNING", "schema-driver": "SUCCEEDED", "schema": "RUNNING"},
        503,
        {**ALL_DONE, "schema": "CACHED"},
    ]
    result = run_inkwell(
        *("submit", "--endpoint", server.url, "--pipeline", package, "--wait"),
        *("--param", "overrides=gan.epochs=2 seed=3", "--ui", "http://127.0.0.1:9/"),
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    [run] = server.runs.values()
    assert run["runtime_config"] == {
        "parameters": {"overrides": "gan.epochs=2 seed=3"},
        "pipeline_root": "minio://mlpipeline/inkwell",
    }
    [version] = server.versions.values()
    lines = result.stdout.splitlines()
    link = f"http://127.0.0.1:9/#/runs/details/{run['run_id']}"
    assert lines[:3] == [
        f"Uploaded as version {version['display_name']} of the pipeline inkwell.",
        f"Run {run['run_id']}:",
        link,
    ]
    assert lines[3] == f"[1/{len(NODES) + 1}] schema started"
    assert any("] schema cached, " in line for line in lines)
    assert any("] report done" in line for line in lines)
    assert f"Run {run['run_id']} ended as SUCCEEDED." in lines
    assert "The verdicts cannot be read. KFP's web page gives no report" in result.stdout
    assert lines[-1] == link


def test_every_task_and_the_verdicts_are_told_where_kfp_stores_no_more_tasks(web, package):
    run_id = submit(web, package)
    script = [
        {"": "RUNNING", **dict.fromkeys(list(NODES)[:6], "SUCCEEDED")},
        {**ALL_DONE, "judge": "CACHED"},
    ]
    code, text = followed(web, run_id, script)
    found = rows(text)
    assert set(found) == set(NODES)
    assert {words[0] for node, words in found.items() if node != "judge"} == {"done"}
    assert found["judge"][0] == "cached"
    assert all(len(words) == 2 for words in found.values()), "each with its seconds"
    assert "autoencoder: approved, version 17 in /models/autoencoder/17" in text
    assert "gan: not pushed. The evaluation refused the model: precision 0.5" in text
    assert code == 3, "a model was not pushed"
    assert f"inkwell report --endpoint {web.url} --run {run_id}" in text
    assert "cannot be" not in text


def test_the_nodes_are_those_of_the_version_that_runs(server, package):
    """As a run of other code has other nodes than this checkout."""
    run_id = submit(server, package)
    [version] = server.versions.values()
    tasks = version["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"]
    tasks["new-node"] = tasks.pop("judge")
    states = {"": "SUCCEEDED", "new-node": ("SUCCEEDED", 33)}
    _, text = followed(server, run_id, [states])
    assert "new-node" in text and "33.0" in text and "judge" not in text


def test_the_gates_of_the_evaluation_say_why_a_model_was_refused(web, package):
    gate = {"metric": "precision", "passed": False, "value": 0.5, "sentence": "Precision is low."}
    metrics = {"model": "gan", "gates": [gate], "quality_gates": True}
    web.page.files[f"{BUCKET}/gan/evaluation/metrics.json"] = json.dumps(metrics).encode()
    code, text = followed(web, submit(web, package), [ALL_DONE])
    assert code == 3 and "gan: not approved. Precision is low." in text


def test_verdicts_of_joined_tasks_are_found_under_the_name_of_the_first(web, package):
    for short in ("ae", "diffusion", "gan"):
        web.outputs[f"evaluate-{short}"] = {
            f"{node_id}_{key}": output
            for node_id in (f"evaluate-{short}", f"serving-check-{short}")
            for key, output in web.outputs.pop(node_id).items()
        }
    code, text = followed(web, submit(web, package), [ALL_DONE])
    assert code == 3
    assert "diffusion: approved, version 17 in /models/diffusion/17" in text
    assert "gan: not pushed. The evaluation refused the model: precision 0.5" in text


def test_every_model_pushed_is_exit_code_0(web, package):
    web.outputs["evaluate-gan"]["blessing"] = (f"{BUCKET}/b", {"blessed": 1})
    pushed = {"pushed": 1, "pushed_version": "3", "pushed_destination": "/models/gan/3"}
    web.outputs["push-gan"]["pushed_model"] = (f"{BUCKET}/p", pushed)
    code, text = followed(web, submit(web, package), [ALL_DONE])
    assert code == 0 and "gan: approved, version 3 in /models/gan/3" in text


def test_the_report_is_downloaded_with_the_run_and_later(web, package, tmp_path):
    run_id = submit(web, package)
    code, text = followed(web, run_id, [ALL_DONE], page=tmp_path / "report.html")
    assert code == 3 and f"The report: {tmp_path / 'report.html'}" in text
    assert (tmp_path / "report.html").read_bytes() == PAGE
    later = tmp_path / "later.html"
    result = run_inkwell("report", "--run", run_id, "--endpoint", web.url, "-o", later)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{later}\n" and later.read_bytes() == PAGE


def test_without_a_web_page_the_report_is_one_sentence(server, package, tmp_path):
    run_id = submit(server, package)
    server.script = [ALL_DONE]
    page = tmp_path / "r.html"
    result = run_inkwell("report", "--run", run_id, "--endpoint", server.url, "-o", page)
    assert result.returncode == 2 and not page.exists()
    assert len(result.stderr.splitlines()) == 1
    assert "svc/ml-pipeline-ui 8080:80" in result.stderr
    assert "is SUCCEEDED" in result.stderr


@pytest.mark.parametrize("archives", [True, False])
@pytest.mark.parametrize(
    "root", ["minio://mlpipeline/inkwell", "minio://mlpipeline/private-artifacts/team-a/x"]
)
def test_several_users_get_the_report_by_namespace(package, tmp_path, archives, root):
    with KfpServer(web=True, multi_user=True, archives=archives) as server:
        add_outputs(server, root)
        run_id = submit(server, package, namespace="team-a")
        page = tmp_path / "report.html"
        followed(server, run_id, [ALL_DONE], namespace="team-a", page=page)
        # Outside the user's own place a file is refused, and only 2.17 gives a whole folder.
        is_readable = archives or "private-artifacts" in root
        assert page.is_file() == is_readable
        assert not is_readable or page.read_bytes() == PAGE


def test_a_failed_task_is_named_with_its_last_words(server, package):
    run_id = submit(server, package)
    server.logs[argo.pod_name(server.workflow(run_id), "schema", attempt=1)] = (
        "2026-01-01 INFO reads\n"
        "schema: There are no IDX files in /data.\n"
        "I0101 15:22:14.000001 12 launcher_v2.go:151] publish success.\n"
        "F0101 15:22:14.000002 12 main.go:49] failed to execute component: exit status 2\n"
        'time="2026-01-01T15:22:14.108Z" level=info msg="sub-process exited" argo=true\n'
        "Error: exit status 1\n"
    )
    states = {"": "FAILED", "example-gen": "SUCCEEDED", "schema": "FAILED"}
    code, text = followed(server, run_id, [states])
    assert code == 1
    assert "schema failed: schema: There are no IDX files in /data.\n" in text
    assert rows(text)["report"] == ["not", "run"]


def test_a_driver_that_fails_is_its_tasks_failure(server, package):
    run_id = submit(server, package)
    driver = argo.pod_name(server.workflow(run_id), "gan", "driver")
    server.logs[driver] = (
        "I0101 15:22:13.1 12 main.go:90] driver starts\n"
        "F0101 15:22:14.1 12 main.go:79] KFP driver: failed to get the pipeline root\n"
        'time="2026-01-01T15:22:14.108Z" level=info msg="sub-process exited" argo=true\n'
    )
    states = {"": "FAILED", "example-gen": "SUCCEEDED", "gan-driver": "FAILED"}
    code, text = followed(server, run_id, [states])
    assert code == 1 and "gan failed: KFP driver: failed to get the pipeline root\n" in text


def test_a_launcher_that_fails_says_so_in_its_own_words(server, package):
    run_id = submit(server, package)
    server.logs[argo.pod_name(server.workflow(run_id), "schema")] = (
        "2026-01-01 INFO all written\n"
        "F0101 15:22:14.1 12 main.go:49] failed to execute component: failed to upload output "
        "artifact: AccessDenied\n"
    )
    code, text = followed(server, run_id, [{"": "FAILED", "schema": "FAILED"}])
    assert code == 1 and "failed to upload output artifact: AccessDenied" in text


@pytest.mark.parametrize("access", [{"token": "s3cr3t"}, {"cookie": "session=abc"}])
def test_the_web_page_is_asked_with_the_access_of_the_client(
    package, access, monkeypatch, tmp_path
):
    monkeypatch.setenv("INKWELL_KFP_TOKEN", access.get("token", ""))
    monkeypatch.setenv("INKWELL_KFP_COOKIES", access.get("cookie", ""))
    with KfpServer(web=True, **access) as server:
        add_outputs(server)
        page = tmp_path / "report.html"
        _, text = followed(server, submit(server, package), [ALL_DONE], page=page)
    assert page.read_bytes() == PAGE and "s3cr3t" not in text


def test_verdicts_come_from_the_logs_of_the_pushers_where_there_is_no_web_page(server, package):
    run_id = submit(server, package)
    workflow = server.workflow(run_id)
    for short, words in {
        "ae": "INFO Pushed /models/autoencoder/17",
        "diffusion": "INFO Pushed /models/diffusion/4",
        "gan": "WARNING Not pushed to /models/gan: The evaluation refused the model: it is bad.",
    }.items():
        server.logs[argo.pod_name(workflow, f"push-{short}")] = f"2026-01-01 {words}\nI0101 15:0\n"
    code, text = followed(server, run_id, [ALL_DONE])
    assert code == 3
    assert "autoencoder: approved, version 17 in /models/autoencoder/17" in text
    assert "diffusion: approved, version 4 in /models/diffusion/4" in text
    assert "gan: not pushed. The evaluation refused the model: it is bad." in text


def test_a_killed_task_is_named_beyond_the_limit_with_the_reason_of_kubernetes(
    web, package, tmp_path, monkeypatch
):
    run_id = submit(web, package)
    workflow = web.workflow(run_id)
    before = list(NODES)[: list(NODES).index("gan")]
    script = [
        {"": "RUNNING", **dict.fromkeys(before[:6], "SUCCEEDED")},
        {"": "FAILED", **dict.fromkeys(before, "SUCCEEDED"), "gan": "KILLED"},
    ]
    killed = pod(run_id, workflow, "gan", "Failed", exit_code=137, reason="OOMKilled")
    logs = {killed["metadata"]["name"]: "epoch 1\nepoch 2\n"}
    with KubernetesServer([killed], logs) as kubernetes:
        monkeypatch.setenv("KUBECONFIG", str(kubernetes.write_config(tmp_path / "config")))
        code, text = followed(web, run_id, script)
    assert code == 1
    assert "gan failed (OOMKilled, exit code 137): epoch 2\n" in text
    found = rows(text)
    assert found["gan"][0] == "failed" and found["judge"][0] == "done"
    assert found["evaluate-gan"] == ["not", "run"]


def test_a_task_whose_pod_was_deleted_did_not_come_from_the_cache(
    web, package, tmp_path, monkeypatch
):
    run_id = submit(web, package)
    begun = dict.fromkeys(list(NODES)[:8], "SUCCEEDED")
    driver = pod(run_id, web.workflow(run_id), "gan", role="driver")
    with KubernetesServer([driver], {}) as kubernetes:
        monkeypatch.setenv("KUBECONFIG", str(kubernetes.write_config(tmp_path / "config")))
        _, text = followed(web, run_id, [{"": "FAILED", **begun, "gan": "KILLED"}])
    assert "gan failed, and its log cannot be read" in text and "cached" not in text


def test_a_killed_task_is_named_without_kubernetes_too(web, package):
    states = {"": "FAILED", **dict.fromkeys(list(NODES)[:8], "SUCCEEDED"), "gan": "KILLED"}
    code, text = followed(web, submit(web, package), [states])
    assert code == 1 and "gan failed, and its log cannot be read" in text


def test_a_task_that_is_tried_again_has_not_failed(web, package):
    script = [
        {"": "RUNNING", **dict.fromkeys(list(NODES)[:7], "SUCCEEDED"), "gan": "FAILED"},
        ALL_DONE,
    ]
    _, text = followed(web, submit(web, package), script)
    assert "gan failed" not in text and rows(text)["gan"][0] == "done"


def test_a_failed_run_of_which_nothing_shows_the_task_says_what_to_give(package):
    with KfpServer(stored_tasks=2) as server:
        run_id = submit(server, package)
        script = [
            {"": "RUNNING", "example-gen": "SUCCEEDED", "schema": "SUCCEEDED"},
            {"": "FAILED", **dict.fromkeys(list(NODES)[:9], "SUCCEEDED"), "gan": "KILLED"},
        ]
        code, text = followed(server, run_id, script)
    assert code == 1
    assert "KFP stopped storing tasks" in text and "--ui" in text and "KUBECONFIG" in text
    assert rows(text)["gan"] == ["unknown"]


def test_a_run_that_was_cancelled_is_no_success(web, package):
    states = {"": "CANCELED", "example-gen": "SUCCEEDED", "schema": "RUNNING"}
    code, text = followed(web, submit(web, package), [states])
    assert code == 1 and "ended as CANCELED" in text
    assert rows(text)["schema"][0] == "interrupted"


def test_a_task_ends_once_although_sources_differ_on_how():
    calls: list[tuple[str, ...]] = []

    class Display:
        def started(self, node_id):
            calls.append(("started", node_id))

        def finished(self, node_id, state):
            calls.append(("finished", node_id, state))

    shown: dict[str, str] = {}
    for state in ("not run", "running", "cached", "done", "running"):
        following._show({"gan": Seen(state)}, shown, Display())
    assert calls == [("started", "gan"), ("finished", "gan", "cached")]


def test_time_of_a_task_is_that_of_the_cluster(server, package):
    states = {**ALL_DONE, "gan": ("SUCCEEDED", 754)}
    _, text = followed(server, submit(server, package), [states])
    assert rows(text)["gan"] == ["done", "754.0"]


def test_on_a_terminal_the_tasks_stand_in_a_table(web, package):
    run_id = submit(web, package)
    web.script = [{"": "RUNNING", "schema": "RUNNING"}, ALL_DONE]
    screen = Console(width=100, height=40, file=io.StringIO(), force_terminal=True)
    endpoint = Endpoint(web.url)
    assert follow(connect(endpoint), endpoint, run_id, screen, seconds_between=0.01) == 3
    shown = screen.file.getvalue()
    assert all(node_id in shown for node_id in NODES)
    assert "gan: not pushed" in shown.replace("\x1b[1;31m", "").replace("\x1b[0m", "")


def test_an_end_in_the_year_1970_is_none_yet():
    start, end = argo.START, datetime.datetime.fromtimestamp(0, datetime.UTC)
    detail = kfp_server_api.V2beta1PipelineTaskDetail(
        display_name="gan", state="SUCCEEDED", start_time=start, end_time=end
    )
    details = kfp_server_api.V2beta1RunDetails(task_details=[detail])
    found = api_tasks(kfp_server_api.V2beta1Run(run_details=details), ["gan"])
    assert found == {"gan": Seen("done", None)}


def test_following_gives_up_when_nothing_answers_for_long(server, package):
    run_id = submit(server, package)
    endpoint = Endpoint(server.url)
    times = iter(range(0, 100_000, 100))
    server.script = [{"": "RUNNING"}, *([503] * 50)]
    with pytest.raises(InputError, match=r"refused the request \(503\).*--follow " + run_id):
        follow(
            *(connect(endpoint), endpoint, run_id, Console(file=io.StringIO())),
            seconds_between=0.0,
            clock=lambda: float(next(times)),
        )


def test_whoever_stops_looking_is_told_how_to_look_again(server, package):
    run_id = submit(server, package)
    process = subprocess.Popen(
        inkwell("submit", "--endpoint", server.url, "--follow", run_id),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    looks = f"GET {API}/runs/{run_id}"
    deadline = time.monotonic() + 60
    while looks not in server.requests and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130, output + errors
    assert f"inkwell submit --endpoint {server.url} --follow {run_id}" in output
    assert "Traceback" not in errors


def test_a_run_that_is_not_there_is_one_sentence(server):
    endpoint = Endpoint(server.url)
    with pytest.raises(InputError, match=r"refused the request \(404\): Run nothing not found"):
        follow(connect(endpoint), endpoint, "nothing", Console())


def test_states_of_the_api_are_those_of_a_local_run():
    def detail(name: str, state: str, seconds: float = 60):
        start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        end = start + datetime.timedelta(seconds=seconds)
        return kfp_server_api.V2beta1PipelineTaskDetail(
            display_name=name, state=state, start_time=start, end_time=end
        )

    def states(*details, run: str = "RUNNING") -> str:
        root = detail("root", "RUNNING" if run == "RUNNING" else "FAILED")
        found = kfp_server_api.V2beta1Run(
            state=run,
            run_details=kfp_server_api.V2beta1RunDetails(task_details=[root, *details]),
        )
        return merged(found, ["gan"], [api_tasks(found, ["gan"])])["gan"].state

    assert states() == "not run"
    assert states(detail("gan-driver", "RUNNING")) == "running"
    driven = detail("gan-driver", "SUCCEEDED")
    assert states(driven) == "running"
    assert states(driven, detail("gan", "RUNNING")) == "running"
    assert states(driven, detail("gan", "SUCCEEDED")) == "done"
    assert states(driven, detail("gan", "SUCCEEDED", 1)) == "cached"
    assert states(driven, detail("gan", "SKIPPED", 0)) == "cached"
    assert states(driven, detail("gan", "FAILED")) == "failed"
    assert states(run="CANCELED") == "not run"
    assert states(driven, run="CANCELED") == "interrupted"
