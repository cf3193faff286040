"""The tasks of a run as KFP's run API shows them.

Contract: plain functions on the answers of GET run. The API is one of three sources: it shows no
artifacts, and from the moment on that the node status of the workflow passes 1 MiB it stores no
task any more (backend/src/apiserver/server/report_server.go:53 of KFP 2.16: Argo compresses the
nodes then, and KFP takes that for none). The others are ``metadata`` and ``pods``.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from core.config import InputError
from pipeline.kubeflow.access import Endpoint, no_noise, sentences
from pipeline.plan import NODES
from pipeline.terminal.display import CACHED, DONE, FAILED, INTERRUPTED, NOT_RUN, RUNNING

SUCCEEDED, CANCELED = "SUCCEEDED", "CANCELED"  # KFP's words for the state of a run
ENDED = (SUCCEEDED, "FAILED", "SKIPPED", CANCELED)
UNKNOWN = "unknown"  # of a task that no source shows
# A pod cannot start, import TFX and end in this time: a task that did so came from the cache. The
# run API has no other sign of it.
_CACHED_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a source knows of one task."""

    state: str  # running, done, cached, failed or not run
    seconds: float | None = None
    pod: str = ""  # name of its last pod
    reason: str = ""  # of a failure, where Kubernetes gives one


def is_over(run: Any) -> bool:
    """Whether a run has ended."""
    return run.state in ENDED


def details(run: Any) -> list[Any]:
    """The entries of a run: Argo's nodes, and, without a name, what the launcher registered."""
    return (run.run_details and run.run_details.task_details) or []


def node_ids(client: Any, endpoint: Endpoint, run: Any) -> list[str]:
    """The nodes of a run, in the order of its spec.

    GET run has either the spec or a reference to the pipeline version that holds it
    (backend/src/apiserver/server/api_converter.go:1537 of KFP 2.16). Of a version that was deleted
    the nodes are those of this code.
    """
    spec, reference = run.pipeline_spec, run.pipeline_version_reference
    if not spec and reference:
        try:
            with no_noise(), sentences(endpoint):
                spec = client.get_pipeline_version(
                    reference.pipeline_id, reference.pipeline_version_id
                ).pipeline_spec
        except InputError:
            spec = None
    spec = (spec or {}).get("pipeline_spec", spec)  # with its platform it is one level down
    return list(spec["root"]["dag"]["tasks"]) if spec else list(NODES)


def api_tasks(run: Any, nodes: Iterable[str]) -> dict[str, Seen]:
    """The tasks of which the run API has an entry.

    A node shows as several: ``gan-driver``, which decides whether it runs, ``gan``, which does, and
    around and below them entries such as ``gan(0)`` and ``executor``, which are left out. Those of
    a node that was never started have no state.
    """
    by_name = {detail.display_name: detail for detail in details(run) if detail.state}
    seen = {}
    for node_id in nodes:
        driver, task = by_name.get(f"{node_id}-driver"), by_name.get(node_id)
        if driver or task:
            seen[node_id] = _seen(driver, task)
    return seen


def _seen(driver: Any, task: Any) -> Seen:
    failed = next((d for d in (driver, task) if d and d.state in ("FAILED", CANCELED)), None)
    if failed:
        return Seen(FAILED, _seconds(failed))
    if task and task.state in (SUCCEEDED, "SKIPPED"):
        taken = _seconds(task)
        is_cached = task.state == "SKIPPED" or (taken is not None and taken < _CACHED_SECONDS)
        return Seen(CACHED if is_cached else DONE, taken)
    return Seen(RUNNING)


def _seconds(detail: Any) -> float | None:
    """Seconds that a task took; None if it has not ended: then its end is in the year 1 or 1970."""
    start, end = detail.start_time, detail.end_time
    return (end - start).total_seconds() if start and end and end >= start else None


def is_frozen(run: Any) -> bool:
    """Whether KFP stopped storing the tasks of an ended run: its own entry still runs, or none."""
    of_root = [detail.state for detail in details(run) if detail.display_name == "root"]
    return is_over(run) and (not of_root or RUNNING.upper() in of_root)


def merged(
    run: Any, nodes: Iterable[str], sources: Iterable[Mapping[str, Seen]]
) -> dict[str, Seen]:
    """One state for every node.

    Args:
        run: As the API shows it.
        nodes: Ids of all nodes.
        sources: The run API's tasks first; each later source knows better, but of a task that ended
            in one the state is not taken back by another.
    """
    api, *others = sources
    over, found = is_over(run), {}
    for node_id in nodes:
        task = api.get(node_id)
        for other in others:
            task = _better(task, other.get(node_id), over)
        found[node_id] = _final(task, run, is_frozen(run) and not others) if over else task
    return {node_id: task or Seen(NOT_RUN) for node_id, task in found.items()}


def _better(old: Seen | None, new: Seen | None, over: bool) -> Seen | None:
    if new is None:
        return old
    if new.state == FAILED and not over:  # it may be tried again
        new = dataclasses.replace(new, state=RUNNING, seconds=None)
    if old is None:
        return new
    if new.state == RUNNING and old.state in (DONE, CACHED, FAILED):
        new = dataclasses.replace(new, state=old.state, seconds=old.seconds)
    return Seen(
        new.state,
        new.seconds if new.seconds is not None else old.seconds,
        new.pod or old.pod,
        new.reason or old.reason,
    )


def _final(task: Seen | None, run: Any, is_hidden: bool) -> Seen:
    """The state of a task when its run has ended.

    Args:
        task: What is known of it.
        run: The run.
        is_hidden: Whether the state may be an old one, and a missing task may have run.
    """
    if task is None:
        return Seen(UNKNOWN if is_hidden else NOT_RUN)
    if task.state != RUNNING:
        return task
    if is_hidden:
        return dataclasses.replace(task, state=UNKNOWN)
    # Its pod never reported an end: it was killed, or stopped with the run.
    state = {SUCCEEDED: DONE, CANCELED: INTERRUPTED}.get(run.state, FAILED)
    return dataclasses.replace(task, state=state)
