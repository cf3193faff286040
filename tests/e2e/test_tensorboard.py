"""TensorBoard opens the logs that a run leaves, by the command that the README gives."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.workplace import Workplace

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

TRAININGS = ("judge", "autoencoder", "finetune-ae", "diffusion", "finetune-diffusion")


def test_tensorboard_shows_the_loss_of_every_training(workplace: Workplace, tmp_path: Path):
    binary = Path(sys.executable).with_name("tensorboard")
    command = [binary, "--logdir", workplace.output / "smoke" / "pipeline", "--port=0"]
    log = tmp_path / "log"
    with log.open("w") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as board:
        try:
            tags = _tags(log, board)
        finally:
            board.terminate()
    for node in TRAININGS:
        [train] = [run for run in tags if run.startswith(f"{node}/") and run.endswith("/train")]
        assert "epoch_loss" in tags[train]


def _tags(log: Path, board: subprocess.Popen) -> dict[str, list[str]]:
    """Names of scalars by run, once there are some: TensorBoard answers before it has read all."""
    for _ in range(600):
        assert board.poll() is None, log.read_text()
        if found := re.search(r" at (http://\S+)/ ", log.read_text()):
            with urllib.request.urlopen(f"{found[1]}/data/plugin/scalars/tags") as answer:
                tags = json.load(answer)
            if len(tags) >= 2 * len(TRAININGS):  # train and validation
                return tags
        time.sleep(0.2)
    pytest.fail(log.read_text())
