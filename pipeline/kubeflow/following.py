"""Follows a run on Kubeflow Pipelines with the table of a local run, and says how it ended.

Contract: the tasks come from the run API, and from ML Metadata or Kubernetes where these can be
asked; verdicts and the report's page from what the run left. What no source shows is said in one
sentence, with what to give to see it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from core.config import InputError, require
from core.files import write_whole
from pipeline.kubeflow.access import Endpoint, no_noise, sentences
from pipeline.kubeflow.logs import Logs
from pipeline.kubeflow.metadata import RunMetadata
from pipeline.kubeflow.outcome import Artifacts, model_results, models_in_logs, read_report
from pipeline.kubeflow.pods import RunPods
from pipeline.kubeflow.tasks import (
    SUCCEEDED,
    UNKNOWN,
    Seen,
    api_tasks,
    is_frozen,
    is_over,
    merged,
    node_ids,
)
from pipeline.results import CRASHED, INTERRUPTED, NOT_APPROVED, OK, ModelResult, NodeResult
from pipeline.terminal.display import CACHED, FAILED, NOT_RUN, RUNNING, Board, make_display
from pipeline.terminal.screen import say

_LOST_AFTER = 600.0  # seconds without an answer before following gives up
_NO_PAGE = (
    "KFP's web page gives no report of the run at {}; give its address with --ui, such as that of "
    "kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80"
)


class Sources:
    """Where the tasks of a run are read."""

    def __init__(self, client: Any, endpoint: Endpoint, run: Any):
        self._client, self._endpoint, self._run_id = client, endpoint, run.run_id
        self.nodes = node_ids(client, endpoint, run)
        self.metadata: RunMetadata | None = None
        self.pods: RunPods | None = None
        self._has_asked = False  # Kubernetes for access

    @property
    def namespace(self) -> str | None:
        """Of the run's pods, where it is known."""
        of_run = self.metadata.namespace if self.metadata else None
        return self._endpoint.namespace or of_run

    def tasks(self, run: Any) -> dict[str, Seen]:
        """The state of every node, by all that can be asked."""
        self._open(run)
        found = [api_tasks(run, self.nodes)]
        if self.metadata:
            found.append(self.metadata.tasks())
        if self.pods:
            by_pods = self.pods.tasks(is_over(run))
            if self.metadata:  # which knows what came from the cache: a pod may have been deleted
                by_pods = {name: task for name, task in by_pods.items() if task.state != CACHED}
            found.append(by_pods)
        return merged(run, self.nodes, [*found[:1], *filter(None, found[1:])])

    def _open(self, run: Any) -> None:
        """Opens what is needed: Kubernetes where ML Metadata does not know the run, or it failed.

        ML Metadata is asked again, as it knows a run from the first driver on.
        """
        if self.metadata is None:
            self.metadata = RunMetadata.open(self._client, self._endpoint, self._run_id)
        failed = is_over(run) and run.state != SUCCEEDED
        if failed or (self.metadata is None and not self._has_asked):
            self._has_asked = True
            self.pods = RunPods.open(self._run_id, self.namespace)


def follow(
    client: Any,
    endpoint: Endpoint,
    run_id: str,
    console: Console,
    page: Path | None = None,
    seconds_between: float = 5.0,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Shows a run until it ends; returns the exit code.

    0 if every task succeeded and no model is known to be refused, 1 if not every task did, 3 if a
    model was not pushed, 130 if the user stops following: the run then goes on.

    Args:
        client: As ``connect`` gives it.
        endpoint: The same endpoint.
        run_id: The run.
        console: Where to show it.
        page: File for the report's page; None writes none.
        seconds_between: Between two looks.
        clock: Seconds, for tests.

    Raises:
        InputError: The run does not exist, or the server does not answer for ten minutes.
    """
    try:
        run = get_run(client, endpoint, run_id)
        sources = Sources(client, endpoint, run)
        with make_display(Board(sources.nodes), console) as display:
            last_answer, shown = clock(), {}
            while True:
                tasks = sources.tasks(run)
                _show(tasks, shown, display)
                if is_over(run):
                    break
                time.sleep(seconds_between)
                try:
                    run = get_run(client, endpoint, run_id)
                    last_answer = clock()
                except InputError as error:
                    if clock() - last_answer > _LOST_AFTER:
                        words = f"{error} The run may go on; see: {_again(endpoint, run_id)}"
                        raise InputError(words) from None
    except KeyboardInterrupt:
        say(console, f"The run continues; follow it again with: {_again(endpoint, run_id)}")
        return INTERRUPTED
    return _print_end(client, endpoint, run, sources, tasks, console, page)


def get_run(client: Any, endpoint: Endpoint, run_id: str) -> Any:
    """A run as the API shows it; raises ``InputError`` if there is none."""
    with no_noise(), sentences(endpoint):
        return client.get_run(run_id)


def save_report(client: Any, endpoint: Endpoint, run_id: str, page: Path) -> None:
    """Writes the page of a run's report to a file.

    Raises:
        InputError: There is no such run, it has no report yet, or the web page does not give it.
    """
    run = get_run(client, endpoint, run_id)
    metadata = RunMetadata.open(client, endpoint, run_id)
    content = read_report(Artifacts(client, endpoint, metadata)) if metadata else None
    if content is None:
        raise InputError(f"The run {run_id} is {run.state}. {_NO_PAGE.format(endpoint.web)}")
    write_whole(page, content)


def check_page(page: Path) -> None:
    """Raises ``InputError`` for a file that cannot be written, before a server is asked."""
    require(
        page.parent.is_dir() and not page.is_dir(),
        f"{page} cannot be written: name a file in a directory that exists with --output.",
    )


def _show(tasks: Mapping[str, Seen], shown: dict[str, str], display: Any) -> None:
    """Reports to the display what has begun or ended since the last poll.

    A task ends once: sources may differ on whether it came from the cache.
    """
    for node_id, task in tasks.items():
        old = shown.get(node_id, NOT_RUN)
        if old not in (NOT_RUN, RUNNING) or task.state in (old, NOT_RUN, UNKNOWN):
            continue
        if old == NOT_RUN:
            display.started(node_id)
        if task.state != RUNNING:
            display.finished(node_id, task.state)
        shown[node_id] = task.state


def _print_end(
    client: Any,
    endpoint: Endpoint,
    run: Any,
    sources: Sources,
    tasks: Mapping[str, Seen],
    console: Console,
    page: Path | None,
) -> int:
    """The table, the failed tasks, the models and the report; returns the exit code."""
    from pipeline.terminal.tables import model_sentence, node_table

    results = [NodeResult(node_id, task.state, task.seconds) for node_id, task in tasks.items()]
    console.print(node_table(results))
    logs = Logs(client, endpoint, run, sources.pods, sources.namespace)
    artifacts = Artifacts(client, endpoint, sources.metadata) if sources.metadata else None
    say(console, f"Run {run.run_id} ended as {run.state}.")
    if run.state != SUCCEEDED:
        for words in _failures(run, tasks, logs):
            say(console, words)
    elif any(task.state == UNKNOWN for task in tasks.values()):
        say(console, _why_unknown(endpoint))
    models = model_results(artifacts) if artifacts else models_in_logs(logs, tasks)
    judged = [model for model in models if model.blessed is not None]
    for model in judged:
        say(console, model_sentence(model))
    if run.state == SUCCEEDED and not judged:
        say(console, f"The verdicts cannot be read. {_NO_PAGE.format(endpoint.web)}")
    _print_report(artifacts, endpoint, run, console, page)
    say(console, endpoint.link(run.run_id))
    return _exit_code(run, judged)


def _exit_code(run: Any, models: Sequence[ModelResult]) -> int:
    if run.state != SUCCEEDED:
        return CRASHED
    return OK if all(model.pushed for model in models) else NOT_APPROVED


def _failures(run: Any, tasks: Mapping[str, Seen], logs: Logs) -> list[str]:
    """One sentence for every failed task: the reason by Kubernetes, and its last words."""
    sentences_ = []
    for node_id, task in tasks.items():
        if task.state == FAILED:
            last = logs.last_line(node_id, task.pod)
            reason = f" ({task.reason})" if task.reason else ""
            words = f": {last}" if last else ", and its log cannot be read"
            sentences_.append(f"{node_id} failed{reason}{words}")
    if sentences_:
        return sentences_
    if run.error and run.error.message:
        return [run.error.message]
    if any(task.state == UNKNOWN for task in tasks.values()) or is_frozen(run):
        return [_why_unknown(logs.endpoint)]
    return [] if run.state == "CANCELED" else ["No task of it failed; see the run's page."]


def _why_unknown(endpoint: Endpoint) -> str:
    return (
        "KFP stopped storing tasks, as their workflow is above 1 MiB, so those called "
        f"{UNKNOWN} cannot be shown: neither ML Metadata at {endpoint.web} (give the address of "
        "the web page with --ui) nor Kubernetes (KUBECONFIG) shows the run."
    )


def _print_report(
    artifacts: Artifacts | None, endpoint: Endpoint, run: Any, console: Console, page: Path | None
) -> None:
    if page is None:
        if run.state == SUCCEEDED:
            command = f"inkwell report --endpoint {endpoint.url} --run {run.run_id}"
            say(console, f"See the report: {command} --open")
        return
    content = read_report(artifacts) if artifacts else None
    if content is None:
        say(console, f"{page} was not written. {_NO_PAGE.format(endpoint.web)}")
    else:
        write_whole(page, content)
        say(console, f"The report: {page}")


def _again(endpoint: Endpoint, run_id: str) -> str:
    return f"inkwell submit --endpoint {endpoint.url} --follow {run_id}"
