"""Trains a small model and kills itself, without a word, in its second epoch.

python -m tests.trainer_modules.killed gan EXAMPLES FOLDER
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import types
from pathlib import Path
from typing import Any

EPOCHS = 3
_COMMON = {"epochs": EPOCHS, "batch_size": 64}
SETTINGS = {
    "judge": {"channels": 4, **_COMMON},
    "autoencoder": {"channels": 4, **_COMMON},
    "diffusion": {"channels": 4, "global_width": 8, "sample_steps": 1, "patience": 2, **_COMMON},
    "gan": {"channels": 4, "latent_size": 8, "sample_every": 5, **_COMMON},
}


def arguments(model: str, examples: str, folder: Path, checkpoint: Path | None) -> Any:
    """The part of TFX's FnArgs that a trainer reads."""
    custom = {"config": SETTINGS[model]}
    return types.SimpleNamespace(
        train_files=[examples],
        eval_files=[examples],
        serving_model_dir=str(folder / model / "Format-Serving"),
        model_run_dir=str(folder / model / "logs"),
        base_model=None,
        custom_config=custom if checkpoint is None else {**custom, "checkpoint": str(checkpoint)},
    )


def run_fn(model: str):
    """TFX's entry of the model's first training."""
    return importlib.import_module(f"trainer_modules.{model}.train").run_fn


def main(model: str, examples: str, folder: str) -> None:
    """Leaves ``<folder>/<model>.checkpoint`` of the first epoch."""
    from trainer_modules.common.checkpoint import Checkpoint

    save = Checkpoint.save

    def save_or_die(self, epoch, *arrays, **notes):
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        save(self, epoch, *arrays, **notes)

    Checkpoint.save = save_or_die
    place = Path(folder) / f"{model}.checkpoint"
    run_fn(model)(arguments(model, examples, Path(folder) / "killed", place))


if __name__ == "__main__":
    main(*sys.argv[1:])
