"""The one table of models: what is trained, in which stages, and how it is measured.

Contract: the plan, the settings of a run, trainers, evaluators, pushers, gates, Kubeflow's lists,
the report and the tests follow from ``JUDGE`` and ``MODELS``. Code is named by import path, so the
table imports none of it.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

_GENERATED = ("generation", "neighbours", "classifier", "fid")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One training: a node of the pipeline and a group of a run's settings."""

    node_id: str
    settings: str  # name of the group
    config: str  # import path of the group's class
    entry: str  # import path of the function that trains, as TFX calls it


@dataclasses.dataclass(frozen=True)
class ModelKind:
    """One model that is trained, evaluated, checked and pushed."""

    name: str  # it is served under
    short: str  # in node ids
    stages: tuple[Stage, ...]  # in order; each starts from the model of the one before
    measurements: tuple[str, ...]  # modules of components.evaluator.parts, in the report's order
    score: str  # signature that scores single images, by which a canary is compared
    words: str  # import path of its description

    @property
    def measurement_modules(self) -> tuple[str, ...]:
        """Import paths of its measurements; a name with a dot is one already."""
        parts = "components.evaluator.parts"
        return tuple(n if "." in n else f"{parts}.{n}" for n in self.measurements)

    @property
    def trained_by(self) -> str:
        """Node whose model is evaluated and pushed."""
        return self.stages[-1].node_id

    @property
    def evaluator(self) -> str:
        """Node that measures and approves it."""
        return f"evaluate-{self.short}"

    @property
    def serving_check(self) -> str:
        """Node that queries it on a model server."""
        return f"serving-check-{self.short}"

    @property
    def pusher(self) -> str:
        """Node that puts it into serving."""
        return f"push-{self.short}"


# The classifier that scores the others; it is not served.
JUDGE = Stage(
    node_id="judge",
    settings="judge",
    config="trainer_modules.judge.config.JudgeConfig",
    entry="trainer_modules.judge.train.run_fn",
)

MODELS: dict[str, ModelKind] = {
    kind.name: kind
    for kind in (
        ModelKind(
            name="autoencoder",
            short="ae",
            stages=(
                Stage(
                    node_id="autoencoder",
                    settings="autoencoder",
                    config="trainer_modules.autoencoder.config.AutoencoderConfig",
                    entry="trainer_modules.autoencoder.train.run_fn",
                ),
                Stage(
                    node_id="finetune-ae",
                    settings="finetune_autoencoder",
                    config="trainer_modules.autoencoder.config.AutoencoderFinetuneConfig",
                    entry="trainer_modules.autoencoder.train.finetune_fn",
                ),
            ),
            measurements=(
                *("reconstruction", "denoising", "clusters", "tsne"),
                *("anomaly", "one_class"),
            ),
            score="anomaly_score",
            words="components.model_card.words.autoencoder.WORDS",
        ),
        ModelKind(
            name="diffusion",
            short="diffusion",
            stages=(
                Stage(
                    node_id="diffusion",
                    settings="diffusion",
                    config="trainer_modules.diffusion.config.DiffusionConfig",
                    entry="trainer_modules.diffusion.train.run_fn",
                ),
                Stage(
                    node_id="finetune-diffusion",
                    settings="finetune_diffusion",
                    config="trainer_modules.diffusion.config.DiffusionFinetuneConfig",
                    entry="trainer_modules.diffusion.train.finetune_fn",
                ),
            ),
            measurements=(*_GENERATED, "reverse_process", "denoising"),
            score="denoise",
            words="components.model_card.words.diffusion.WORDS",
        ),
        ModelKind(
            name="gan",
            short="gan",
            stages=(
                Stage(
                    node_id="gan",
                    settings="gan",
                    config="trainer_modules.gan.config.GanConfig",
                    entry="trainer_modules.gan.train.run_fn",
                ),
            ),
            measurements=(*_GENERATED, "latent_walk", "discriminator"),
            score="discriminate",
            words="components.model_card.words.gan.WORDS",
        ),
    )
}

STAGES: tuple[Stage, ...] = (JUDGE, *(stage for kind in MODELS.values() for stage in kind.stages))


def load(path: str) -> Any:
    """What an import path of the table names: a module's attribute."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
