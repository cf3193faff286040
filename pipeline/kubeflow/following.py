"""Follows a run on Kubeflow Pipelines with the table of a local run, and says how it ended.

Contract: works from the run API alone, which shows the states of tasks but no artifacts, hence no
verdicts.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rich.console import Console

from core.config import InputError
from pipeline.kubeflow.client import Endpoint, no_noise, sentences
from pipeline.plan import NODES
from pipeline.results import CRASHED, INTERRUPTED, OK, NodeResult
from pipeline.terminal.display import CACHED, DONE, FAILED, NOT_RUN, RUNNING, Board, make_display
from pipeline.terminal.screen import say

_LOST_AFTER = 600.0  # seconds without an answer before following gives up
# A pod cannot start, import TFX and end in this time: a task that did so came from the cache. The
# run API has no other sign of it.
_CACHED_SECONDS = 5.0
_ENDED = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")


def follow(
    client: Any,
    endpoint: Endpoint,
    run_id: str,
    console: Console,
    seconds_between: float = 5.0,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Shows a run until it ends; returns the exit code.

    0 if every task succeeded, 1 if not, 130 if the user stops following: the run then goes on.
    Whether the models were approved is in the run's report, not in the run API.

    Raises:
        InputError: The run does not exist, or the server does not answer for ten minutes.
    """
    run: Any = None
    try:
        with no_noise(), sentences(endpoint):
            run = client.get_run(run_id)
        spec = _spec_of(run)
        board = Board(list(spec["root"]["dag"]["tasks"]) if spec else [])
        with make_display(board, console) as display:
            last_answer, shown = clock(), {}
            while True:
                _show(task_states(run, board.nodes), shown, display)
                if run.state in _ENDED:
                    break
                time.sleep(seconds_between)
                try:
                    with no_noise(), sentences(endpoint):
                        run = client.get_run(run_id)
                    last_answer = clock()
                except InputError as error:
                    if clock() - last_answer > _LOST_AFTER:
                        words = f"{error} The run may go on; see: {_again(endpoint, run_id)}"
                        raise InputError(words) from None
    except KeyboardInterrupt:
        say(console, f"The run continues; follow it again with: {_again(endpoint, run_id)}")
        return INTERRUPTED
    return _print_end(run, task_states(run, board.nodes), endpoint, console)


def task_states(run: Any, node_ids: Iterable[str]) -> dict[str, NodeResult]:
    """The state of every node in the run API.

    A node shows as two: ``gan-driver``, which decides whether it runs, and ``gan``, which does.
    """
    details = (run.run_details and run.run_details.task_details) or []
    by_name = {detail.display_name: detail for detail in details}
    states = {}
    for node_id in node_ids:
        driver, task = by_name.get(f"{node_id}-driver"), by_name.get(node_id)
        states[node_id] = _state(node_id, driver, task, run.state in _ENDED)
    return states


def _state(node_id: str, driver: Any, task: Any, is_over: bool) -> NodeResult:
    def seconds(detail: Any) -> float | None:
        if not (detail and detail.start_time and detail.end_time):
            return None
        taken = (detail.end_time - detail.start_time).total_seconds()
        return taken if taken >= 0 else None  # an end that is not there yet is 1970

    failed = next((d for d in (driver, task) if d and d.state in ("FAILED", "CANCELED")), None)
    if failed:
        return NodeResult(node_id, FAILED, seconds(failed))
    if task and task.state in ("SUCCEEDED", "SKIPPED"):
        taken = seconds(task)
        is_cached = task.state == "SKIPPED" or (taken is not None and taken < _CACHED_SECONDS)
        return NodeResult(node_id, CACHED if is_cached else DONE, taken)
    if is_over:
        return NodeResult(node_id, NOT_RUN)
    return NodeResult(node_id, RUNNING if driver or task else NOT_RUN)


def _show(states: Mapping[str, NodeResult], shown: dict[str, str], display: Any) -> None:
    """Reports to the display what has changed since the last poll."""
    for node_id, node in states.items():
        old = shown.get(node_id, NOT_RUN)
        if node.state == old or node.state == NOT_RUN:
            continue
        if old == NOT_RUN:
            display.started(node_id)
        if node.state != RUNNING:
            display.finished(node_id, node.state)
        shown[node_id] = node.state


def _print_end(
    run: Any, states: Mapping[str, NodeResult], endpoint: Endpoint, console: Console
) -> int:
    from pipeline.terminal.tables import node_table

    if states:
        console.print(node_table(list(states.values())))
    say(console, f"Run {run.run_id} ended as {run.state}{_end_words(run)}.")
    say(console, endpoint.link(run.run_id))
    return OK if run.state == "SUCCEEDED" else CRASHED


def _end_words(run: Any) -> str:
    """What the run API shows of the end, and where to find the rest.

    The API does not show artifacts, hence no verdicts. Of a workflow above 1 MiB it keeps only the
    first tasks, so a failed one may be missing.
    """
    if run.state == "SUCCEEDED":
        return (
            ". KFP's API does not show verdicts. Open the run's page: the artifact report "
            "(index.html) lists every model; the property pushed of each pushed_model is 1 or 0"
        )
    failed = [node.id for node in task_states(run, list(NODES)).values() if node.state == FAILED]
    if failed:
        return f"; {', '.join(failed)} failed, and the last line of the pod's log says why"
    if run.error:
        return f": {run.error.message}"
    return "; KFP's API does not name the failed task; see the run's page"


def _again(endpoint: Endpoint, run_id: str) -> str:
    return f"inkwell submit --endpoint {endpoint.url} --follow {run_id}"


def _spec_of(run: Any) -> dict[str, Any] | None:
    """The pipeline spec that a run carries; with its platform it is one level down."""
    spec = run.pipeline_spec or {}
    return spec.get("pipeline_spec", spec) or None
