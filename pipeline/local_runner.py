"""Runs the pipeline on this machine with TFX's LocalDagRunner, and tells what came of it.

Contract: ``run(config, ...) -> RunResult``, whatever the end; artifacts, metadata (SQLite), logs
and results lie under ``<output_dir>/<profile>``. Finished nodes are cached, so a rerun resumes by
itself after a failure; ``from_node`` makes a node and all that depends on it run again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.config import RunConfig
from pipeline.failures import explain
from pipeline.progress import CACHED, DONE, FAILED, NOT_RUN, Board, Screen, make_display
from pipeline.quiet import output_to
from pipeline.results import Failure, NodeResult, RunResult, save_result
from trainer_modules.common.config import InputError
from trainer_modules.common.progress import LOGGER as PROGRESS

# TFX tells of nodes in these two log records alone (tfx/orchestration/local/local_dag_runner.py).
_STARTED, _FINISHED = "Component %s is running.", "Component %s is finished."


class StartError(RuntimeError):
    """The pipeline could not be put together or its metadata not be opened."""


def run(
    config: RunConfig,
    from_node: str | None = None,
    on_start: Callable[[str], None] | None = None,
    build: Callable[..., Any] | None = None,
) -> RunResult:
    """Runs all nodes in turn; progress goes to the screen, everything else to the log.

    Args:
        config: The resolved configuration; relative paths are taken from here.
        from_node: Node id; this node and all that depend on it are run even if cached.
        on_start: Called with the path of the log before the first node.
        build: Builds the pipeline; None takes ``create_pipeline``.

    Raises:
        InputError: The output directory cannot be written, or another run is using it.
        StartError: There was no node to blame.
    """
    config = _absolute(config)
    profile_dir = Path(config.output_dir) / config.profile
    _make_directory(profile_dir)
    with _lock(Path(config.output_dir)):
        run_id = _new_run_id(profile_dir)
        log = profile_dir / "logs" / f"{run_id}.log"
        if on_start:
            on_start(str(log))
        with output_to(log) as screen:
            try:
                result = _run_logged(config, from_node, build, run_id, log, screen)
            except InputError:
                raise
            except Exception as error:
                logging.getLogger(__name__).exception("The run could not start")
                words = f"The run could not start: {explain(error)[1]}; the log is {log}"
                raise StartError(words) from error
    save_result(result, dataclasses.asdict(config), profile_dir)
    return result


def set_environment() -> None:
    """Sets what TensorFlow, Keras and absl read; call it before anything imports them."""
    sys.argv = sys.argv[:1]  # TFX hands the rest to absl, which has flags of its own
    os.environ["TF_USE_LEGACY_KERAS"] = "0"  # tensorflow_transform would set it to 1
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # warnings and errors reach the log


def _run_logged(config, from_node, build, run_id, log, screen) -> RunResult:
    started, clock = datetime.datetime.now().astimezone(), time.monotonic()
    set_environment()
    from pipeline.metadata import RunMetadata

    if build is None:
        from pipeline.pipeline import create_pipeline as build

    profile_dir = log.parents[1]
    database = profile_dir / "metadata.sqlite"
    pipeline = build(config, str(profile_dir / "pipeline"), _sqlite(database))
    ir = _compile(pipeline, run_id)
    if from_node is not None:
        _disable_cache_from(ir, from_node)
    metadata = RunMetadata(database, pipeline.pipeline_info.pipeline_name)
    metadata.forget_superseded(Path(config.serving_dir))

    node_ids = [node.pipeline_node.node_info.id for node in ir.nodes]
    board = Board(node_ids)
    console = Screen(file=screen)
    failure = None
    with make_display(board, console) as display:
        watch = _Watch(display, lambda node_id: _state(metadata, run_id, node_id))
        with watch.attached(), _interrupts() as interrupts:
            try:
                _run_ir(ir)
            except BaseException as error:  # the edge: whatever ends a node becomes one sentence
                logging.getLogger(__name__).exception("The run ended at %s", board.running)
                kind, message = explain(error)
                if interrupts:
                    kind, message = "interrupt", "Interrupted."
                failure = Failure(kind, board.running or "", message)
        if board.running:
            display.finished(board.running, FAILED)
    failure = failure or _silent_failure(board)
    return RunResult(
        run_id=run_id,
        profile=config.profile,
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 3),
        nodes=[_node_result(node_id, board) for node_id in node_ids],
        models=metadata.models(run_id),
        report=metadata.report(run_id),
        log=str(log),
        failure=failure,
    )


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Yields a list that fills with the signals that ask the run to end.

    A KeyboardInterrupt alone would not do: raised inside TensorFlow's C++, it can come out as some
    other error.
    """
    received: list[int] = []

    def interrupt(number: int, frame: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM)
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, interrupt) for number in numbers if is_main}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_ir(ir: Any) -> None:
    from absl import logging as absl_logging
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    absl_logging.set_verbosity(absl_logging.INFO)  # the records that _Watch listens to
    LocalDagRunner().run_with_ir(ir)


class _Watch(logging.Handler):
    """Turns log records of TFX and of our own progress into calls of the display."""

    def __init__(self, display: Any, state_of: Callable[[str], str]):
        super().__init__(logging.INFO)
        self._display = display
        self._state_of = state_of

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        loggers = [logging.getLogger("absl"), PROGRESS]
        level = PROGRESS.level
        PROGRESS.setLevel(logging.INFO)
        for logger in loggers:
            logger.addHandler(self)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeHandler(self)
            PROGRESS.setLevel(level)

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "progress"):
            self._display.progressed(record.progress)
        elif record.msg == _STARTED:
            self._display.started(record.args[0])
        elif record.msg == _FINISHED:
            self._display.finished(record.args[0], self._state_of(record.args[0]))


def _state(metadata: Any, run_id: str, node_id: str) -> str:
    state = metadata.state(run_id, node_id)
    # LocalDagRunner goes on past a node whose inputs cannot be resolved: MLMD alone knows.
    return {"COMPLETE": DONE, "CACHED": CACHED, None: NOT_RUN}.get(state, FAILED)


def _silent_failure(board: Board) -> Failure | None:
    for node_id, node in board.nodes.items():
        if node.state in (FAILED, NOT_RUN):
            return Failure("crash", node_id, "its inputs could not be found in the metadata")
    return None


def _node_result(node_id: str, board: Board) -> NodeResult:
    node = board.nodes[node_id]
    ended = node.state in (DONE, CACHED, FAILED)
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


def _absolute(config: RunConfig) -> RunConfig:
    """Artifacts are linked by path, so paths must hold wherever the next run starts."""
    paths = {
        name: os.path.abspath(os.path.expanduser(getattr(config, name)))
        for name in ("data_dir", "output_dir", "serving_dir")
    }
    return dataclasses.replace(config, **paths)


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        writable = os.access(path, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise InputError(f"{path} cannot be written; name another directory with --output.")


def _new_run_id(profile_dir: Path) -> str:
    """Local time to the second; a number is added where that is taken."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    taken = {path.stem for path in profile_dir.glob("logs/*.log")}
    names = [stamp, *(f"{stamp}-{i}" for i in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


@contextlib.contextmanager
def _lock(output_dir: Path) -> Iterator[None]:
    """Holds the output directory; the system lets go of it however this process ends.

    Raises:
        InputError: Another run holds it.
    """
    path = output_dir / ".lock"
    with open(path, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(
                f"Another run (process {file.read().strip() or 'unknown'}) is using {output_dir}; "
                "wait for it to end, or give this run a directory of its own with --output."
            ) from None
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
