"""Runs the pipeline on this machine with TFX's LocalDagRunner, and returns the result.

Contract: ``run(config, ...) -> RunResult``, whatever the end; artifacts, metadata (SQLite), logs
and results are under ``<output_dir>/<profile>``. Finished nodes are cached, so a rerun resumes by
itself after a failure; ``from_node`` makes a node and all that depends on it run again. What is in
serving is looked at before the first node and after the last.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import datetime
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.artifacts import SAMPLES_DIR
from core.config import InputError
from core.files import DIRECTORY_MODE
from core.models import MODELS
from core.origin import code_origin
from pipeline.config import RunConfig
from pipeline.environment import set_environment
from pipeline.local.check_page import write_check
from pipeline.local.database import DATABASE, check, keep_copy
from pipeline.local.failures import explain
from pipeline.local.integrity import Ledger
from pipeline.local.live import LivePage, usual_seconds
from pipeline.local.watch import Watch, interrupted_by
from pipeline.local.workspace import (
    ARTIFACTS,
    RUN_ID,
    SERVING_OPTION,
    absolute,
    lock,
    make_directory,
    new_run_id,
    temporary_folder,
)
from pipeline.results import Failure, ModelResult, NodeResult, RunResult, save_result
from pipeline.terminal.display import (
    CACHED,
    DONE,
    FAILED,
    INTERRUPTED,
    NOT_RUN,
    Board,
    make_display,
)
from pipeline.terminal.quiet import output_to
from pipeline.terminal.screen import Screen, say
from serving.errors import ServingError
from serving.releases import served_version, whole_version
from serving.versions import damage

if TYPE_CHECKING:
    from pipeline.local.metadata import RunMetadata


class StartError(RuntimeError):
    """The pipeline could not be assembled, or its metadata not opened."""


def run(
    config: RunConfig,
    from_node: str | None = None,
    build: Callable[..., Any] | None = None,
    quiet: bool = False,
) -> RunResult:
    """Runs all nodes in turn; progress goes to the screen, everything else to the log.

    Args:
        config: The resolved configuration; relative paths are taken from here.
        from_node: Node id; this node and all that depend on it are run even if cached.
        build: Builds the pipeline; None uses ``create_pipeline``.
        quiet: Whether nothing is shown while it runs.

    Raises:
        InputError: The output, serving or temporary directory cannot be written or is another
            user's, another run is using the first, or a version in serving is damaged.
        ServingError: The labels in the serving directory cannot be read.
        KeyboardInterrupt: The user interrupted it while no node was running.
        StartError: The run failed before its first node.
    """
    set_environment()
    config = absolute(config)
    profile_dir = Path(config.output_dir) / config.profile
    make_directory(Path(config.output_dir))
    for folder in (profile_dir, *(profile_dir / name for name in ("logs", "runs", ARTIFACTS))):
        make_directory(folder)
    if "://" not in config.serving_dir:
        make_directory(Path(config.serving_dir), SERVING_OPTION, DIRECTORY_MODE)
        for name in MODELS:
            whole_version(config.serving_dir, name)  # before hours of training
    code = code_origin()
    with lock(Path(config.output_dir)):
        run_id = os.environ.pop(RUN_ID, "") or new_run_id(profile_dir)
        log = profile_dir / "logs" / f"{run_id}.log"
        with temporary_folder(), output_to(log) as screen, interrupted_by() as signals:
            try:
                with contextlib.chdir(profile_dir):  # artifacts have paths from there
                    console = Screen(file=screen, quiet=quiet)
                    result = _run_logged(config, from_node, build, run_id, log, console, signals)
            except InputError:
                raise
            except BaseException as error:
                if signals:  # an import may have made another error of it
                    raise KeyboardInterrupt from error
                if not isinstance(error, Exception):
                    raise
                logging.getLogger(__name__).exception("The run could not start")
                words = f"The run could not start: {explain(error)[1]}; the log is {log}"
                raise StartError(words) from error
    try:
        save_result(result, dataclasses.asdict(config), profile_dir, code)
    except OSError as error:  # the models are made and pushed all the same
        logging.getLogger(__name__).warning(
            "The record of run %s could not be written (%s).", run_id, error.strerror
        )
    keep_copy(profile_dir / DATABASE)
    return result


def _run_logged(config, from_node, build, run_id, log, console, signals) -> RunResult:
    started, clock = datetime.datetime.now().astimezone(), time.monotonic()
    with _sign_of_life(console):
        ir, metadata, ledger = _prepare(config, from_node, build, run_id, log.parents[1], console)
    node_ids = [node.pipeline_node.node_info.id for node in ir.nodes]
    board = Board(node_ids, usual=usual_seconds(log.parents[2], config.profile))
    failure = None
    page = LivePage(
        *(log.parents[1], board, run_id, started),
        lambda node_id: _samples(metadata, run_id, node_id),
    )
    say(console, f"Follow it in a browser: {page.path.as_uri()}")
    with make_display(board, console) as shown, page.follows(shown) as display:

        def ended(node_id: str) -> str:
            state = _state(metadata, run_id, node_id)
            if state in (DONE, CACHED):
                uris = [made.uri for made in metadata.outputs(run_id, node_id).values()]
                # A run that was killed as the node ended has not recorded them.
                new = [uri for uri in uris if state == DONE or uri not in ledger]
                if new:
                    ledger.record(new)
            return state

        watch = Watch(display, ended, signals)
        try:
            with watch.attached():
                _run_ir(ir)
        except BaseException as error:  # the edge: whatever ends a node becomes one sentence
            logging.getLogger(__name__).exception("The run ended at %s", board.running)
            kind, message = explain(error)
            if signals:
                kind, message = "interrupt", "Interrupted."
            failure = Failure(kind, board.running or "", message)
        if board.running:
            display.finished(board.running, INTERRUPTED if signals else FAILED)
    failure = failure or _silent_failure(board)
    result = RunResult(
        run_id=run_id,
        profile=config.profile,
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 3),
        nodes=[_node_result(node_id, board) for node_id in node_ids],
        models=[_as_served(model) for model in metadata.models(run_id)],
        report=metadata.report(run_id),
        log=str(log),
        failure=failure,
        check=write_check(config, metadata, run_id, log.parents[1]) if failure else None,
    )
    page.ended(result)
    return result


def _samples(metadata: RunMetadata, run_id: str, node_id: str) -> Path | None:
    """Where the model that a node gave, or took from the cache, has its grids of samples."""
    artifact = metadata.output(run_id, node_id, "model")
    return metadata.directory(artifact) / SAMPLES_DIR if artifact else None


def _as_served(model: ModelResult) -> ModelResult:
    """The result with what the serving directory holds now: the metadata may be of an older run."""
    if not model.pushed:
        return model
    pushed = Path(model.destination)
    problem = damage(pushed)
    try:
        served = served_version(pushed.parent.parent, pushed.parent.name)
    except ServingError as error:
        return dataclasses.replace(model, problem=problem or str(error).rstrip("."))
    is_other = served is not None and served != pushed and not problem
    return dataclasses.replace(model, problem=problem, served=served.name if is_other else "")


def _prepare(
    config, from_node, build, run_id, profile_dir, console
) -> tuple[Any, RunMetadata, Ledger]:
    """Imports TFX; returns the compiled pipeline, and what is known of earlier runs."""
    database = profile_dir / DATABASE
    check(database)
    ledger = Ledger(profile_dir)
    # Reading all artifacts takes less time than importing TFX.
    with concurrent.futures.ThreadPoolExecutor(1) as reader:
        reading = reader.submit(ledger.damaged)
        from pipeline.local.metadata import RunMetadata

        if build is None:
            from pipeline.pipeline import create_pipeline as build

        pipeline = build(config, ARTIFACTS, _sqlite(database))
        damaged = reading.result()
    ir = _compile(pipeline, run_id)
    if from_node is not None:
        _disable_cache_from(ir, from_node)
    metadata = RunMetadata(database, pipeline.pipeline_info.pipeline_name)
    if damaged:
        metadata.abandon(damaged)
        ledger.forget(damaged)
        for uri, words in damaged.items():
            say(console, f"{profile_dir / uri} is damaged ({words}), so it is made again.")
    metadata.forget_superseded(Path(config.serving_dir))  # reads none that is damaged
    return ir, metadata, ledger


def _sign_of_life(console: Screen) -> contextlib.AbstractContextManager:
    """A spinner while TFX starts; nothing without a terminal."""
    if not console.is_terminal:
        return contextlib.nullcontext()
    return console.status("Importing TFX")


def _run_ir(ir: Any) -> None:
    from absl import logging as absl_logging
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    absl_logging.set_verbosity(absl_logging.INFO)  # the records that Watch listens to
    LocalDagRunner().run_with_ir(ir)


def _state(metadata: Any, run_id: str, node_id: str) -> str:
    state = metadata.state(run_id, node_id)
    # LocalDagRunner skips a node whose inputs cannot be resolved; only MLMD shows that.
    return {"COMPLETE": DONE, "CACHED": CACHED, None: NOT_RUN}.get(state, FAILED)


def _silent_failure(board: Board) -> Failure | None:
    for node_id, node in board.nodes.items():
        if node.state in (FAILED, NOT_RUN):
            return Failure("crash", node_id, "its inputs could not be found in the metadata")
    return None


def _node_result(node_id: str, board: Board) -> NodeResult:
    node = board.nodes[node_id]
    ended = node.state in (DONE, CACHED, FAILED, INTERRUPTED)
    seconds = round(node.seconds, 3) if node.seconds is not None else None
    return NodeResult(node_id, node.state if ended else NOT_RUN, seconds if ended else None)


def _compile(pipeline: Any, run_id: str) -> Any:
    """The pipeline as TFX's intermediate representation, under our own readable run id."""
    from tfx.dsl.compiler import compiler, constants
    from tfx.orchestration.portable import runtime_parameter_utils

    ir = compiler.Compiler().compile(pipeline)
    runtime_parameter_utils.substitute_runtime_parameter(
        ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    )
    return ir


def _disable_cache_from(ir: Any, from_node: str) -> None:
    """Turns the cache off for ``from_node`` and for all that depend on it."""
    nodes = {node.pipeline_node.node_info.id: node.pipeline_node for node in ir.nodes}
    reached = {from_node}
    for node_id, node in nodes.items():  # in topological order
        if node_id == from_node or reached & set(node.upstream_nodes):
            reached.add(node_id)
            node.execution_options.caching_options.enable_cache = False


def _sqlite(path: Path) -> Any:
    from tfx.orchestration.metadata import sqlite_metadata_connection_config

    return sqlite_metadata_connection_config(str(path))
