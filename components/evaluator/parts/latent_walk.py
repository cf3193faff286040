"""Plots of walks from one random latent to another, without metrics. Seeded; a second."""

import numpy as np

from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part
from components.evaluator.parts import plots
from components.evaluator.references import References
from components.evaluator.results import Plot
from components.evaluator.saved_model import LoadedModel

_WALKS, _FRAMES = 6, 10  # rows and columns


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """Rows of images; left out for a model without the signature."""
    return (Part("latent walk", "latent", (), measure),)


def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """Images along walks between random latents."""
    if not draw or "serving_default" not in model.handle.signatures:
        return Measured()
    size = model.inputs("serving_default")["latent"].shape[1]
    rng = np.random.default_rng([references.config.seed, 4])
    start, stop = rng.standard_normal((2, _WALKS, size))
    flat = latent_walk(start, stop, _FRAMES).reshape(-1, size).astype(np.float32)
    images = model.run("serving_default", latent=flat)["image"]
    picture = Plot(
        "figures/latent_walk.png",
        "Between two latents",
        "Each row walks from one random latent to another in equal steps. Digits that change "
        "gradually, without smudges in between, suggest a generator that has not memorised "
        "its training images.",
        plots.image_rows(list(images.reshape(_WALKS, _FRAMES, *images.shape[1:]))),
    )
    return Measured(plots=[picture])


def latent_walk(start: np.ndarray, stop: np.ndarray, count: int) -> np.ndarray:
    """``count`` latents from ``start`` [N, D] to ``stop`` [N, D], on great circles: [N, count, D].

    White 2016 (arXiv 1609.04468): straight lines pass nearer to the origin than any latent that the
    generator has seen. Norms change in equal steps too.
    """
    norms = [np.linalg.norm(each, axis=1)[:, None, None] for each in (start, stop)]
    a, b = (each[:, None] / norm for each, norm in zip((start, stop), norms, strict=True))
    angle = np.arccos(np.clip((a * b).sum(axis=2, keepdims=True), -1.0, 1.0))
    t = np.linspace(0.0, 1.0, count)[None, :, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        on_circle = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    on_circle = np.where(np.sin(angle) > 1e-6, on_circle, a)
    return ((1 - t) * norms[0] + t * norms[1]) * on_circle
