"""Names and entries that Argo Workflows and KFP make of a run, for the doubles of both servers.

Contract: of the workflow's nodes as KFP 2.17 has them, where every step is retried by default, so
that each has a node of its own for its first attempt; tests/kubeflow/test_recorded.py holds the
names against those of a real server. Written apart from the code under test.
"""

import datetime
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.kubeflow.spec import UNCACHED

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
NOT_YET = {"argo": "0001-01-01T00:00:00Z", "kfp": "1970-01-01T00:00:00Z"}
ENDED = ("SUCCEEDED", "FAILED", "CANCELED")
# Words of a test's script, and what KFP's API says of the task: a task from the cache succeeds at
# once; of a killed one the launcher reports nothing more.
API_STATES = {"CACHED": "SUCCEEDED", "KILLED": "FAILED"}


def fnv(text: str) -> int:
    """Hash of a node's name: FNV-1a of 32 bits (workflow/util/pod_name.go of Argo 4.0)."""
    value = 2166136261
    for byte in text.encode():
        value = ((value ^ byte) * 16777619) % 2**32
    return value


def node_name(workflow: str, task: str, role: str = "executor", attempt: int = 0) -> str:
    """Name of the node whose pod runs a task, or its driver."""
    if role == "driver":
        return f"{workflow}(0).root(0).{task}-driver({attempt})"
    return f"{workflow}(0).root(0).{task}(0).executor({attempt})"


def pod_name(workflow: str, task: str, role: str = "executor", attempt: int = 0) -> str:
    """Name of that pod; the templates are KFP's, with retries of the task itself."""
    template = "system-container-driver" if role == "driver" else "retry-system-container-impl"
    return f"{workflow}-{template}-{fnv(node_name(workflow, task, role, attempt))}"


def task_details(
    run: Mapping[str, Any], workflow: str, script: Mapping[str, Any], all_tasks: list[str]
) -> list[dict[str, Any]]:
    """The entries of GET run.

    Args:
        run: The run, with its state.
        workflow: Name of its workflow.
        script: State by task; ``X-driver`` is the driver's alone. A state is a word, or a word and
            the seconds it took.
        all_tasks: Of the pipeline: those that a failed run never started have entries as well.
    """
    found = list(_of_workflow(run, workflow))
    for name, state in script.items():
        word, seconds = state if isinstance(state, tuple) else (state, 60)
        found += _of_node(run["run_id"], workflow, name, word, seconds)
    if run["state"] == "FAILED":
        begun = {name.removesuffix("-driver") for name in script}
        for task in all_tasks:
            if task not in script:
                found.append(_entry(run["run_id"], task, None, 0))
            if task not in begun:
                found.append(_entry(run["run_id"], f"{task}-driver", None, 0))
    return found


def of_launcher(run_id: str, script: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Entries without a name: what the launcher of a task that may be cached registers at its end.

    They go on when the others no longer do.
    """
    ends = [n for n, s in script.items() if (s[0] if isinstance(s, tuple) else s) == "SUCCEEDED"]
    return [
        {
            "run_id": run_id,
            "task_id": str(uuid.uuid4()),
            "create_time": START.isoformat(),
            "start_time": START.isoformat(),
            "end_time": START.isoformat(),
            "execution_id": str(number),
        }
        for number, name in enumerate(ends, 2)
        if not name.endswith("-driver") and name not in UNCACHED
    ]


def _of_workflow(run: Mapping[str, Any], workflow: str) -> Iterator[dict[str, Any]]:
    state, top = run["state"], f"{workflow}(0)"
    yield _entry(run["run_id"], workflow, state, 900, [f"{workflow}-{fnv(top)}"])
    yield _entry(run["run_id"], top, state, 900, [f"{workflow}-{fnv(f'{top}.root-driver')}"])
    driver = f"{top}.root-driver(0)"
    yield _entry(run["run_id"], "root-driver", "SUCCEEDED", 40, [f"{workflow}-{fnv(driver)}"])
    yield _entry(run["run_id"], "root", state, 860, [f"{workflow}-{fnv(f'{top}.root(0)')}"])


def _of_node(
    run_id: str, workflow: str, name: str, word: str, seconds: float
) -> Iterator[dict[str, Any]]:
    state = API_STATES.get(word, word)
    path = f"{workflow}(0).root(0).{name}"
    own = f"{workflow}-{fnv(f'{path}(0)')}"
    if word == "CACHED":
        seconds = 1
    yield _entry(run_id, name, state, seconds, [own])
    yield _entry(run_id, f"{name}(0)", state, seconds, [f"{workflow}-{fnv(f'{path}(0).executor')}"])
    if name.endswith("-driver") or word == "CACHED":
        return
    executor = f"{workflow}-{fnv(f'{path}(0).executor(0)')}"
    yield _entry(run_id, "executor", state, seconds, [executor])
    yield _entry(run_id, "executor(0)", state, seconds)


def _entry(
    run_id: str, name: str, state: str | None, seconds: float, children: list[str] | None = None
) -> dict[str, Any]:
    end = NOT_YET["argo"]
    if state is None or state in ENDED:
        end = (START + datetime.timedelta(seconds=seconds)).isoformat()
    entry: dict[str, Any] = {
        "run_id": run_id,
        "task_id": str(uuid.uuid4()),
        "display_name": name,
        "create_time": START.isoformat(),
        "start_time": START.isoformat(),
        "end_time": end,
        "state_history": [{"update_time": START.isoformat()} | ({"state": state} if state else {})],
    }
    if state:
        entry["state"] = state
    if children:
        entry["child_tasks"] = [{"pod_name": child} for child in children]
    return entry
