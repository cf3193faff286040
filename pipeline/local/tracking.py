"""A finished run in MLflow: settings, gated metrics, verdicts, and its pages.

Contract: ``check`` refuses what cannot work before anything is trained. ``log_run`` returns a
sentence, whatever happens: a run is as good as it was, also where its server does not answer.
MLflow itself is an extra, imported here alone.
"""

import importlib.util
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from core.config import InputError, require
from core.wording import setting
from pipeline.local.history import Run, computing, read, verdict_of
from serving.versions import CARD_HTML, CARD_MARKDOWN, extra_file

EXPERIMENT = "inkwell"
_BATCH = 100  # parameters that a server takes at once
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",  # a directory, for which MLflow wants to be asked
    # MLflow tries for minutes otherwise, while the terminal waits.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def check(uri: str) -> None:
    """Raises ``InputError`` if runs cannot be logged there; asks no server."""
    require(
        importlib.util.find_spec("mlflow") is not None,
        "Logging to MLflow needs the package mlflow-skinny; install it with: "
        "pip install 'inkwell[mlflow]'",
    )
    require(
        urlsplit(uri).password is None,
        "The address of MLflow holds a password, which would be kept with the run; set "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead.",
    )
    try:
        _client(uri)
    except Exception as error:  # noqa: BLE001 - whatever MLflow says of it
        raise InputError(f"MLflow cannot use {uri}: {_first_line(error)}") from None


def log_run(record: Path, uri: str) -> tuple[bool, str]:
    """Logs the run of a record; returns whether that went well, and a sentence."""
    try:
        number = _log(read(record), uri)
    except Exception as error:  # noqa: BLE001 - the edge: the run itself has ended
        return False, f"The run could not be logged to MLflow at {uri}: {_first_line(error)}"
    return True, f"Logged to MLflow at {uri}: experiment {EXPERIMENT}, run {number}."


def _client(uri: str) -> Any:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # a line for each time that it tries again
    from mlflow import MlflowClient  # pyrefly: ignore[missing-import]

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _log(run: Run, uri: str) -> str:
    client, result = _client(uri), run.result
    from mlflow.entities import Param  # pyrefly: ignore[missing-import]

    found = client.get_experiment_by_name(EXPERIMENT)
    experiment = found.experiment_id if found else client.create_experiment(EXPERIMENT)
    tags = {
        "profile": result.profile,
        "verdict": result.verdict,
        "commit": run.origin.get("commit"),
        "data_digest": run.data.get("digest"),
        **{f"verdict.{model.name}": verdict_of(model) for model in result.models},
    }
    number = client.create_run(
        experiment,
        run_name=result.run_id,
        tags={name: value for name, value in tags.items() if value},
    ).info.run_id
    params = [Param(name, setting(value)) for name, value in computing(run.settings).items()]
    for i in range(0, len(params), _BATCH):
        client.log_batch(number, params=params[i : i + _BATCH])
    for model in result.models:
        for gate in model.gates:
            if gate.value is not None and gate.metric:
                client.log_metric(number, f"{model.name}/{gate.metric}", gate.value)
    for path, folder in _pages(run):
        client.log_artifact(number, str(path), folder)
    client.set_terminated(number, "FAILED" if result.failure else "FINISHED")
    return number


def _pages(run: Run) -> Iterator[tuple[Path, str]]:
    """The report and the model cards, each with its folder in MLflow."""
    if run.result.report:
        yield Path(run.result.report), "report"
    for model in run.result.models:
        for name in (CARD_HTML, CARD_MARKDOWN) if model.pushed else ():
            card = extra_file(Path(model.destination), name)
            if card.is_file():
                yield card, f"cards/{model.name}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
