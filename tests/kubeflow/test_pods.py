"""A run's tasks by the pods of Kubernetes, on a double of its API."""

import pytest

from pipeline.kubeflow.pods import RunPods
from pipeline.plan import NODES
from tests.kubeflow.commands import followed, submit
from tests.kubeflow.kfp_server import KfpServer
from tests.kubeflow.kubernetes_server import KubernetesServer, pod

RUN, WORKFLOW = "4f1e", "inkwell-x7k2p"


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """The tasks of a list of pods, as the client sees them."""

    def read(pods: list, over: bool = True):
        with KubernetesServer(pods, {}) as server:
            monkeypatch.setenv("KUBECONFIG", str(server.write_config(tmp_path / "config")))
            return RunPods.open(RUN, None).tasks(over)

    return read


def of(task: str, phase: str = "Succeeded", **given):
    return pod(RUN, WORKFLOW, task, phase, **given)


def test_states_and_seconds_are_those_of_the_pods(tasks):
    found = tasks(
        [
            *(of("schema", role="driver"), of("schema")),
            *(of("judge", role="driver"), of("judge", "Running")),
            of("gan", "Pending", role="driver"),
        ],
        over=False,
    )
    assert {name: (task.state, task.seconds) for name, task in found.items()} == {
        "schema": ("done", 60),
        "judge": ("running", None),
        "gan": ("running", None),
    }


def test_a_task_with_a_driver_alone_came_from_the_cache(tasks):
    driver = of("judge", role="driver")
    assert tasks([driver])["judge"].state == "cached"
    assert tasks([driver], over=False)["judge"].state == "running"


def test_the_last_attempt_counts(tasks):
    first = of("gan", "Failed", exit_code=1)
    assert tasks([of("gan", attempt=1), first])["gan"].state == "done"
    again = tasks([first, of("gan", "Failed", attempt=1, exit_code=2)])["gan"]
    assert (again.state, again.reason) == ("failed", "exit code 2")


def test_the_reason_of_a_killed_pod_is_kuberneteses(tasks):
    found = tasks(
        [
            of("gan", "Failed", exit_code=137, reason="OOMKilled"),
            of("judge", "Failed", evicted="The node was low on resource: memory."),
        ]
    )
    assert found["gan"].reason == "OOMKilled, exit code 137"
    assert found["judge"].reason == "Evicted: The node was low on resource: memory."


def test_names_without_default_retries_are_read_too(tasks):
    """As before KFP 2.17, where no step but a task with retries has a number."""
    pods = []
    for name in ("root.schema.executor", "root.gan-driver", "root-driver"):
        pods.append(of("judge"))
        annotations = pods[-1]["metadata"]["annotations"]
        annotations["workflows.argoproj.io/node-name"] = f"{WORKFLOW}.{name}"
    assert set(tasks(pods)) == {"schema", "gan"}


def test_pods_of_another_run_do_not_count(tasks):
    assert tasks([pod("other", WORKFLOW, "gan")]) == {}


def test_without_access_there_is_nothing(tmp_path, monkeypatch):
    assert RunPods.open(RUN, None) is None
    with KubernetesServer([], {}, status=403) as server:
        monkeypatch.setenv("KUBECONFIG", str(server.write_config(tmp_path / "config")))
        assert RunPods.open(RUN, None) is None
    for text in ("this is: [no kubeconfig", "nor this", ""):
        (tmp_path / "config").write_text(text)
        assert RunPods.open(RUN, None) is None


def test_kubernetes_takes_over_where_kfp_stores_no_more_tasks(package, tmp_path, monkeypatch):
    with KfpServer(stored_tasks=6) as server:
        run_id = submit(server, package)
        pods = [pod(run_id, server.workflow(run_id), task) for task in NODES]
        pods += [pod(run_id, server.workflow(run_id), task, role="driver") for task in NODES]
        names = {
            task: pod(run_id, server.workflow(run_id), task)["metadata"]["name"] for task in NODES
        }
        logs = {
            names[f"push-{short}"]: f"INFO Pushed /models/{model}/5\n"
            for model, short in (("autoencoder", "ae"), ("diffusion", "diffusion"), ("gan", "gan"))
        }
        with KubernetesServer(pods, logs) as kubernetes:
            monkeypatch.setenv("KUBECONFIG", str(kubernetes.write_config(tmp_path / "config")))
            six = dict.fromkeys(list(NODES)[:6], "SUCCEEDED")
            done = dict.fromkeys(NODES, "SUCCEEDED")
            script = [{"": "RUNNING", **six}, {"": "SUCCEEDED", **done}]
            code, text = followed(server, run_id, script)
    assert code == 0
    words = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert all(words[node] == ["done", "60.0"] for node in NODES)
    assert "gan: approved, version 5 in /models/gan/5" in text
    assert any(path.startswith("/api/v1/namespaces/kubeflow/pods") for path in kubernetes.requests)
