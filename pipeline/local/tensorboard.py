"""TensorBoard over all runs of a directory, under names that say which run and which node.

Contract: the trainers' event files stay where they are; TensorBoard reads them through a temporary
folder of links, ``<profile>/<run>/<node>``, that follows the runs while it is open. Next to them,
``results/<profile>/<run>`` has the run's settings, gated metrics and sample grids. A training that
was taken from the cache is shown once, with the run that did it.
"""

import contextlib
import datetime
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.summary.writer.record_writer import RecordWriter

from core.artifacts import SAMPLES_DIR, Picture, read_picture
from core.config import InputError, require
from core.models import STAGES
from core.wording import setting
from pipeline.local.database import DATABASE
from pipeline.local.history import computing, settings_of
from pipeline.local.workspace import ARTIFACTS, spelled_out
from pipeline.plan import PIPELINE_NAME
from pipeline.results import NOT_APPROVED, OK, RunResult, load_results

LOGS, MODEL = "model_run", "model"  # outputs of a trainer: its event files, and what it made
RESULTS = "results"  # apart from the trainings, whose losses would be metrics of a run
_SETTINGS = ("profile", "seed", "data", *(stage.settings for stage in STAGES))
_SECONDS = 15.0  # between looks for new runs
# Number, node and run of every execution, in the tables of ML Metadata.
_EXECUTIONS = """
SELECT of_node.execution_id, node.name, run.name
FROM Context node JOIN Type kind ON kind.id = node.type_id AND kind.name = 'node'
JOIN Association of_node ON of_node.context_id = node.id
JOIN Association of_run ON of_run.execution_id = of_node.execution_id
JOIN Context run ON run.id = of_run.context_id
JOIN Type run_kind ON run_kind.id = run.type_id AND run_kind.name = 'pipeline_run'
ORDER BY of_node.execution_id
"""


def serve(output_dir: Path, port: int, tell: Callable[[str], None]) -> int:
    """Runs TensorBoard until it is interrupted; returns its exit code.

    Args:
        output_dir: Directory of the runs.
        port: Of its page on this computer; 0 takes any.
        tell: Takes a sentence.

    Raises:
        InputError: There is no training yet, or the metadata cannot be read.
    """
    try:
        found = dict(trainings(output_dir))
    except sqlite3.Error as error:
        raise InputError(
            f"The metadata in {output_dir} cannot be read ({error}); see: inkwell doctor"
        ) from None
    where = spelled_out(output_dir)
    require(bool(found), f"There is no training in {where} yet; start one with: inkwell run")
    with tempfile.TemporaryDirectory(prefix="inkwell-") as folder:
        board = _Folder(Path(folder), output_dir)
        board.update(found)
        runs = len({name.rpartition("/")[0] for name in found})
        tell(f"TensorBoard shows {len(found)} trainings, runs: {runs}. It ends with Ctrl-C.")
        options = ["--logdir", folder, "--port", str(port), "--host", "127.0.0.1"]
        process = subprocess.Popen(
            [sys.executable, "-m", "tensorboard.main", *options, "--reload_multifile", "true"],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        try:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_SECONDS)
                with contextlib.suppress(sqlite3.Error, OSError):  # a run may be writing
                    board.update(dict(trainings(output_dir)))
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            return 0
        return process.returncode


def trainings(output_dir: Path) -> Iterator[tuple[str, Path]]:
    """``<profile>/<run>/<node>`` of every training, and the directory of its event files."""
    for path in sorted(output_dir.glob(f"*/{DATABASE}")):
        # Read-only and in one short look, as a run may be writing.
        address = f"{path.absolute().as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
            found = database.execute(_EXECUTIONS).fetchall()
        for number, node, run_id in found:
            node = node.removeprefix(f"{PIPELINE_NAME}.")
            folder = path.parent / ARTIFACTS / node / LOGS / str(number)
            if folder.is_dir():
                yield f"{path.parent.name}/{run_id}/{node}", folder


class _Folder:
    """What TensorBoard reads: links to the trainers' logs, and events of what they lack."""

    def __init__(self, folder: Path, output_dir: Path):
        self._folder, self._output = folder, output_dir
        self._writers: dict[str, RecordWriter] = {}
        self._written: set[str] = set()

    def update(self, found: Mapping[str, Path]) -> None:
        """Adds what is new since the last time.

        Args:
            found: ``trainings`` of the output directory.
        """
        for name, logs in found.items():
            link = self._folder / name
            link.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                link.symlink_to(logs.absolute())
            run, _, node = name.rpartition("/")
            samples = logs.parents[1] / MODEL / logs.name / SAMPLES_DIR
            for grid in sorted(samples.glob("*.png")):
                if self._is_new(str(grid)) and (png := read_picture(samples, grid.name)):
                    self._write(run, _image(node, grid.stem, png), _step(grid.stem))
        for result in load_results(self._output):
            run = f"{result.profile}/{result.run_id}"
            if self._is_new(run):
                for summary in _summaries(result, settings_of(self._output / _record(result))):
                    self._write(run, summary)
        for writer in self._writers.values():
            writer.flush()

    def _is_new(self, what: str) -> bool:
        is_new = what not in self._written
        self._written.add(what)
        return is_new

    def _write(self, run: str, summary: Summary, step: int = 0) -> None:
        if run not in self._writers:
            file = self._folder / RESULTS / run / "events.out.tfevents"
            file.parent.mkdir(parents=True, exist_ok=True)
            # TensorBoard's own writer of events would import TensorFlow.
            self._writers[run] = RecordWriter(file.open("wb"))
        event = Event(wall_time=time.time(), step=step, summary=summary)
        self._writers[run].write(event.SerializeToString())


def _record(result: RunResult) -> str:
    return f"{result.profile}/runs/{result.run_id}.json"


def _summaries(result: RunResult, settings: Mapping[str, Any]) -> Iterator[Summary]:
    """The settings that trainings depend on, for the tab HPARAMS, and the gated metrics."""
    groups = {key: settings[key] for key in _SETTINGS if key in settings}
    values = {
        key: value if isinstance(value, (bool, int, float, str)) else setting(value)
        for key, value in computing(groups).items()
    }
    if values:
        started = datetime.datetime.fromisoformat(result.started).timestamp()
        ended = result.exit_code in (OK, NOT_APPROVED)
        status = api_pb2.STATUS_SUCCESS if ended else api_pb2.STATUS_FAILURE
        yield hparams_pb(values, trial_id=result.run_id, start_time_secs=started)
        end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=started + result.seconds)
        data = plugin_data_pb2.HParamsPluginData(session_end_info=end)
        yield Summary(
            value=[
                Summary.Value(
                    tag=metadata.SESSION_END_INFO_TAG,
                    metadata=metadata.create_summary_metadata(data),
                    tensor=metadata.NULL_TENSOR,
                )
            ]
        )
    for model in result.models:
        for gate in model.gates:
            if gate.value is not None:
                tag = f"{model.name}/{gate.metric or gate.title}"
                yield Summary(value=[Summary.Value(tag=tag, simple_value=gate.value)])


def _image(node: str, stem: str, png: bytes) -> Summary:
    """A grid: those of one training under one name, by the steps or epochs in their file names."""
    name = stem if _step(stem) == 0 else "samples"
    width, height = Picture("", "", png).size
    image = Summary.Image(encoded_image_string=png, width=width, height=height, colorspace=1)
    return Summary(value=[Summary.Value(tag=f"{node}/{name}", image=image)])


def _step(stem: str) -> int:
    """20 of ``step_000020``; 0 where the name has no number."""
    digits = stem.rpartition("_")[2]
    return int(digits) if digits.isdecimal() else 0
