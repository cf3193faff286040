"""TensorBoard over all runs of a directory, under names that say which run and which node.

Contract: the trainers' event files stay where they are; TensorBoard reads them through a temporary
folder of links, ``<profile>/<run>/<node>``, that follows the runs while it is open. A training that
was taken from the cache is shown once, with the run that did it.
"""

import contextlib
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from core.config import InputError, require
from pipeline.local.database import DATABASE
from pipeline.local.workspace import ARTIFACTS, spelled_out
from pipeline.plan import PIPELINE_NAME

LOGS = "model_run"  # output of a trainer that holds its event files
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
        _link(found, Path(folder))
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
                    _link(dict(trainings(output_dir)), Path(folder))
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


def _link(found: dict[str, Path], folder: Path) -> None:
    for name, logs in found.items():
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            link.symlink_to(logs.absolute())
