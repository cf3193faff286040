"""Pictures of how a model draws: the reverse process step by step, and walks between latents.

Parts without a figure. Both ask the served signatures alone, and are left out for a model that
lacks them. Seeded; a second each.
"""

from __future__ import annotations

import numpy as np

from components.evaluator.measurement import Measured, Part
from components.evaluator.parts import plots
from components.evaluator.references import References
from components.evaluator.results import Picture
from components.evaluator.saved_model import LoadedModel

_DIGITS, _FRAMES = 6, 10  # rows and columns of both pictures


def reverse_process_part(steps: int) -> Part:
    """Film strips from pure noise to a digit, in ``steps`` steps."""

    def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
        if not draw or "denoise" not in model.handle.signatures:
            return Measured({})
        shown, frames = reverse_process(
            model, steps, references.config.seed, references.data.train_images
        )
        picture = Picture(
            "figures/reverse_process.png",
            "Reverse process",
            f"Each row is one digit: pure noise on the left, then what {steps} steps of the "
            f"deterministic reverse process (DDIM) make of it, shown after {_listed(shown)} steps. "
            "They ask the served denoiser. The generated images come from the model's own sampler "
            "and, where the denoiser was fine-tuned, from the network before that.",
            plots.image_rows(list(np.swapaxes(frames, 0, 1))),
        )
        return Measured({}, pictures=[picture])

    return Part("reverse process", (), measure)


def reverse_process(
    model: LoadedModel, steps: int, seed: int, train_images: np.ndarray
) -> tuple[list[int], np.ndarray]:
    """Numbers of the steps that are shown, and the images after each: [F, N, 28, 28, 1] in [0, 1].

    DDIM (Song et al. 2021, eq. 12) in the coordinates y = x_t / sqrt(alpha_bar_t) of their eq. 13,
    where it reads y_s = x_0 + sigma_s / sigma_t (y_t - x_0) with x_0 the signature's estimate.
    Images are shown as the process has them, at the variance of the train images: the deviation
    of y from their mean over sqrt(1 + sigma^2).
    """
    from keras import ops

    from trainer_modules.diffusion.schedule import alpha_bar

    shown = sorted({round(i * steps / (_FRAMES - 1)) for i in range(_FRAMES)})
    a = ops.convert_to_numpy(alpha_bar(np.linspace(1.0, 0.0, steps + 1, dtype=np.float32)))
    sigma = np.sqrt(1.0 / a - 1.0)  # in units of standardised images
    mean, std = float(train_images.mean()), float(train_images.std())
    noise = np.random.default_rng([seed, 3]).standard_normal((_DIGITS, 28, 28, 1))
    y = (mean + sigma[0] * std * noise).astype(np.float32)
    frames = [mean + (y - mean) / np.sqrt(1.0 + sigma[0] ** 2)]
    for i in range(steps):
        level = np.full(len(y), sigma[i] * std, np.float32)
        x_0 = model.run("denoise", image=y, noise_level=level)["image"]
        y = x_0 + np.float32(sigma[i + 1] / sigma[i]) * (y - x_0)
        frames.append(mean + (y - mean) / np.sqrt(1.0 + sigma[i + 1] ** 2))
    return shown, np.clip(np.stack([frames[i] for i in shown]), 0.0, 1.0)


def latent_walk_part() -> Part:
    """Rows of images on the way from one random latent to another."""

    def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
        if not draw or "serving_default" not in model.handle.signatures:
            return Measured({})
        inputs = model.signature("serving_default").structured_input_signature[1]
        size = inputs["latent"].shape[1]
        rng = np.random.default_rng([references.config.seed, 4])
        start, stop = rng.standard_normal((2, _DIGITS, size))
        latents = latent_walk(start, stop, _FRAMES)
        flat = latents.reshape(-1, size).astype(np.float32)
        images = model.run("serving_default", latent=flat)["image"]
        picture = Picture(
            "figures/latent_walk.png",
            "Between two latents",
            "Each row walks from one random latent to another in equal steps. Digits that change "
            "gradually, without smudges on the way, speak for a generator that has not learned "
            "its training images by heart.",
            plots.image_rows(list(images.reshape(_DIGITS, _FRAMES, *images.shape[1:]))),
        )
        return Measured({}, pictures=[picture])

    return Part("latent walk", (), measure)


def latent_walk(start: np.ndarray, stop: np.ndarray, count: int) -> np.ndarray:
    """``count`` latents from ``start`` [N, D] to ``stop`` [N, D], on great circles: [N, count, D].

    White 2016 (arXiv 1609.04468): straight lines pass nearer to the origin than any latent that the
    generator has seen. Norms go from one to the other in equal steps too.
    """
    norms = [np.linalg.norm(each, axis=1)[:, None, None] for each in (start, stop)]
    a, b = (each[:, None] / norm for each, norm in zip((start, stop), norms, strict=True))
    angle = np.arccos(np.clip((a * b).sum(axis=2, keepdims=True), -1.0, 1.0))
    t = np.linspace(0.0, 1.0, count)[None, :, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        on_circle = (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)
    on_circle = np.where(np.sin(angle) > 1e-6, on_circle, a)
    return ((1 - t) * norms[0] + t * norms[1]) * on_circle


def _listed(numbers: list[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
