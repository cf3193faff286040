"""The one table of models: what is trained, in which stages, and how it is measured.

Contract: the plan, the settings of a run, trainers, evaluators, pushers, gates, Kubeflow's lists,
the report and the tests follow from ``JUDGE`` and ``MODELS``. Code is named by import path, so the
table imports none of it.
"""

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

    name: str  # under which it is served
    short: str  # in node ids
    stages: tuple[Stage, ...]  # in order; each starts from the model of the one before
    measurements: tuple[str, ...]  # modules of components.evaluator.parts, in the report's order
    primary: str  # metric that decides which of two versions is better
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


def _stage(node_id: str, settings: str, config: str, entry: str) -> Stage:
    return Stage(node_id, settings, f"trainer_modules.{config}", f"trainer_modules.{entry}")


# The classifier that scores the others; it is not served.
JUDGE = _stage("judge", "judge", "judge.config.JudgeConfig", "judge.train.run_fn")

_ROWS = (
    ModelKind(
        name="autoencoder",
        short="ae",
        stages=(
            _stage(
                *("autoencoder", "autoencoder"),
                *("autoencoder.config.AutoencoderConfig", "autoencoder.train.run_fn"),
            ),
            _stage(
                *("finetune-ae", "finetune_autoencoder"),
                *("autoencoder.config.AutoencoderFinetuneConfig", "autoencoder.train.finetune_fn"),
            ),
        ),
        measurements=(
            *("reconstruction", "denoising", "clusters", "tsne", "anomaly", "one_class"),
            "new_data",
        ),
        primary="mse_over_pca",
        score="anomaly_score",
        words="components.model_card.words.autoencoder.WORDS",
    ),
    ModelKind(
        name="diffusion",
        short="diffusion",
        stages=(
            _stage(
                *("diffusion", "diffusion"),
                *("diffusion.config.DiffusionConfig", "diffusion.train.run_fn"),
            ),
            _stage(
                *("finetune-diffusion", "finetune_diffusion"),
                *("diffusion.config.DiffusionFinetuneConfig", "diffusion.train.finetune_fn"),
            ),
        ),
        measurements=(*_GENERATED, "steps", "reverse_process", "denoising"),
        primary="fd_over_floor",
        score="denoise",
        words="components.model_card.words.diffusion.WORDS",
    ),
    ModelKind(
        name="gan",
        short="gan",
        stages=(_stage("gan", "gan", "gan.config.GanConfig", "gan.train.run_fn"),),
        measurements=(*_GENERATED, "latent_walk", "discriminator"),
        primary="fd_over_floor",
        score="discriminate",
        words="components.model_card.words.gan.WORDS",
    ),
)

MODELS: dict[str, ModelKind] = {kind.name: kind for kind in _ROWS}
STAGES: tuple[Stage, ...] = (JUDGE, *(stage for kind in MODELS.values() for stage in kind.stages))


def load(path: str) -> Any:
    """What an import path of the table names: a module's attribute."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)
