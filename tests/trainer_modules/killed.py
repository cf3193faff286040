"""Trains small models, each in a process that kills itself, without a word, in its second epoch.

    python -m tests.trainer_modules.killed EXAMPLES HELD_OUT FOLDER judge gan

Prints a JSON object: how the process of each model ended. All are forks of one that has imported
TensorFlow, and has computed nothing with it.
"""

import importlib
import json
import os
import signal
import sys
import traceback
import types
from pathlib import Path
from typing import Any

EPOCHS = 3
_COMMON = {"epochs": EPOCHS, "batch_size": 64}
SETTINGS = {
    "judge": {"channels": 4, **_COMMON},
    "autoencoder": {"channels": 4, "contrastive_epochs": 0, **_COMMON},
    "diffusion": {"channels": 4, "global_width": 8, "sample_steps": 1, "patience": 2, **_COMMON},
    "gan": {"channels": 4, "latent_size": 8, "sample_every": 5, **_COMMON},
}


def arguments(
    model: str, examples: str, held_out: str, folder: Path, checkpoint: Path | None
) -> Any:
    """The part of TFX's FnArgs that a trainer reads."""
    custom = {"config": SETTINGS[model]}
    return types.SimpleNamespace(
        train_files=[examples],
        eval_files=[held_out],
        serving_model_dir=str(folder / model / "Format-Serving"),
        model_run_dir=str(folder / model / "logs"),
        base_model=None,
        custom_config=custom if checkpoint is None else {**custom, "checkpoint": str(checkpoint)},
    )


def run_fn(model: str):
    """TFX's entry of the model's first training."""
    return importlib.import_module(f"trainer_modules.{model}.train").run_fn


def main(examples: str, held_out: str, folder: str, models: list[str]) -> None:
    """Leaves ``<folder>/<model>.checkpoint`` of the first epoch of every model."""
    from trainer_modules.common.checkpoint import Checkpoint

    save = Checkpoint.save

    def save_or_die(self, epoch, *arrays, **notes):
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        save(self, epoch, *arrays, **notes)

    Checkpoint.save = save_or_die
    ended = {}
    for model in models:
        train, child = run_fn(model), os.fork()
        if child == 0:
            try:
                place = Path(folder) / f"{model}.checkpoint"
                train(arguments(model, examples, held_out, Path(folder) / "killed", place))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        ended[model] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps(ended))


if __name__ == "__main__":
    main(*sys.argv[1:4], sys.argv[4:])
