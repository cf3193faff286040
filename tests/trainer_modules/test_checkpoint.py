"""A killed training goes on to the result of one that was never killed; bad files are ignored."""

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.trainer_modules.killed import SETTINGS, arguments, run_fn
from trainer_modules.common.checkpoint import Checkpoint, values_of
from trainer_modules.common.history import History
from trainer_modules.judge.config import JudgeConfig

TIMES = ("seconds", "images_per_second")  # of history.json: all that may differ


@pytest.fixture(scope="module")
def place(example_files, held_out_files, tmp_path_factory) -> Path:
    """A folder with the checkpoints of four trainings that were killed in their second epoch."""
    folder = tmp_path_factory.mktemp("killed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.trainer_modules.killed",
            example_files,
            held_out_files,
            str(folder),
            *SETTINGS,
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    ended = json.loads(process.stdout.splitlines()[-1])
    assert ended == dict.fromkeys(SETTINGS, -signal.SIGKILL), process.stderr[-3000:]
    return folder


def results(folder: Path) -> tuple[dict, list[np.ndarray]]:
    """history.json without its times, and all weights."""
    history = json.loads((folder / "history.json").read_text())
    models = [
        keras.models.load_model(path, compile=False) for path in sorted(folder.rglob("*.keras"))
    ]
    weights = [weight for model in models for weight in model.get_weights()]
    return {k: v for k, v in history.items() if k not in TIMES}, weights


@pytest.mark.parametrize("model", SETTINGS)
def test_a_killed_training_goes_on_to_the_very_same_result(
    model, place, example_files, held_out_files, tmp_path, caplog, only_weights
):
    files = (example_files, held_out_files)
    checkpoint = place / f"{model}.checkpoint"
    assert not (place / "killed" / model / "Format-Serving").exists()
    caplog.set_level(logging.INFO, "inkwell")
    run_fn(model)(arguments(model, *files, tmp_path / "resumed", checkpoint))
    assert f"{model} resumed after epoch 1" in caplog.messages
    stages = {r.progress.stage for r in caplog.records if hasattr(r, "progress")}
    assert stages == {f"{model} train: resumed after epoch 1"}
    assert not checkpoint.exists()  # the training is done

    run_fn(model)(arguments(model, *files, tmp_path / "whole", None))
    history, weights = results(tmp_path / "resumed" / model)
    expected_history, expected_weights = results(tmp_path / "whole" / model)
    assert history == expected_history
    assert len(weights) == len(expected_weights)
    for weight, expected in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.fixture
def training_state(digits, tmp_path):
    """Builds a small model, its history and its checkpoint; the same ones each time."""

    def build(config=None, split=digits, bias=0.0):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
        model.layers[0].set_weights([np.ones((3, 2)), np.full(2, bias)])
        model.compile(optimizer=keras.optimizers.Adam(use_ema=True), loss="mse")
        history = History("judge", "train", seed=1)
        place = str(tmp_path / "state" / "judge")
        return model, Checkpoint(place, config or JudgeConfig(), history, [model], [split])

    return build


def save_a_step(build) -> tuple[list[np.ndarray], Path]:
    model, saved = build()
    model.train_on_batch(np.ones((4, 3)), np.zeros((4, 2)))
    saved.history.add(1, loss=0.1)
    saved.save(3, note=0.1 + 0.2)
    return values_of(saved.variables), saved.path


def test_every_variable_and_the_history_come_back(training_state):
    values, _ = save_a_step(training_state)
    _, saved = training_state()
    notes, _ = saved.resume()
    assert notes == {"epoch": 3, "note": 0.1 + 0.2}
    assert saved.history.curves == {"step": [1.0], "loss": [0.1]}
    # Two weights with two moments and an average each, iterations: nothing of Adam is left out.
    assert len(values) == 2 * 4 + 2
    for value, expected in zip(values_of(saved.variables), values, strict=True):
        np.testing.assert_array_equal(value, expected)


def cut_short(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    return content[:200] + bytes([content[200] ^ 1]) + content[201:]


@pytest.mark.parametrize("damage", [cut_short, flipped, lambda content: b""])
def test_a_damaged_file_is_ignored_with_a_line_in_the_log(training_state, damage, caplog):
    _, path = save_a_step(training_state)
    path.write_bytes(damage(path.read_bytes()))
    model, saved = training_state()
    assert saved.resume() == ({}, [])
    assert f"The checkpoint {path} is ignored: it is damaged" in caplog.messages
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], np.ones((3, 2)))


def test_a_file_of_another_training_is_ignored(training_state, digits, caplog):
    save_a_step(training_state)
    brighter = dataclasses.replace(digits, images=np.minimum(digits.images + 1e-3, 1))
    others = [
        {"config": JudgeConfig(learning_rate=2e-3)},
        {"split": brighter},
        {"bias": 1.0},  # as fine-tuning of another base model
    ]
    for other in others:
        assert training_state(**other)[1].resume() == ({}, []), other
    assert len([m for m in caplog.messages if "of other settings, data, base" in m]) == 3
    assert training_state()[1].resume()[0]["epoch"] == 3


def test_a_file_that_cannot_be_written_is_a_warning(training_state, caplog):
    _, saved = training_state()
    saved.path.parent.parent.mkdir(exist_ok=True)
    saved.path.parent.write_text("a file where the folder should be")
    saved.save(1)
    assert any(m.startswith("No checkpoint after epoch 1: ") for m in caplog.messages)
