"""A plot of the reverse process step by step, without metrics. Seeded; a second."""

import numpy as np

from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part
from components.evaluator.parts import plots
from components.evaluator.references import References
from components.evaluator.results import Plot
from components.evaluator.saved_model import LoadedModel
from core.images import IMAGE_SHAPE

_DIGITS, _FRAMES = 6, 10  # rows and columns


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """Film strips from pure noise to a digit; left out for a model without the signature."""
    return (Part("reverse process", "process", (), measure),)


def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """The reverse process of some digits through the served denoiser."""
    if not draw or "denoise" not in model.handle.signatures:
        return Measured()
    config = references.config
    steps = config.generate_steps
    shown, frames = reverse_process(model, steps, config.seed, references.data.train_images)
    after = f"{', '.join(map(str, shown[:-1]))} and {shown[-1]}"
    picture = Plot(
        "figures/reverse_process.png",
        "Reverse process",
        f"Each row is one digit: pure noise on the left, then the images after {after} of "
        f"{steps} steps of the deterministic reverse process (DDIM), which calls the served "
        "denoiser. The generated images come from the model's own sampler "
        "and, where the denoiser was fine-tuned, from the network before that.",
        plots.image_rows(list(np.swapaxes(frames, 0, 1))),
    )
    return Measured(plots=[picture])


def reverse_process(
    model: LoadedModel, steps: int, seed: int, train_images: np.ndarray
) -> tuple[list[int], np.ndarray]:
    """Numbers of the steps that are shown, and the images after each: [F, N, 28, 28, 1] in [0, 1].

    DDIM (Song et al. 2021, eq. 12) in the coordinates y = x_t / sqrt(alpha_bar_t) of their eq. 13,
    where it reads y_s = x_0 + sigma_s / sigma_t (y_t - x_0) with x_0 the signature's estimate.
    Images are shown at the variance of the train images: the difference of y from their mean over
    sqrt(1 + sigma^2).
    """
    from keras import ops

    from trainer_modules.diffusion.schedule import alpha_bar

    shown = sorted({round(i * steps / (_FRAMES - 1)) for i in range(_FRAMES)})
    a = ops.convert_to_numpy(alpha_bar(np.linspace(1.0, 0.0, steps + 1, dtype=np.float32)))
    sigma = np.sqrt(1.0 / a - 1.0)  # in units of standardised images
    mean, std = float(train_images.mean()), float(train_images.std())
    noise = np.random.default_rng([seed, 3]).standard_normal((_DIGITS, *IMAGE_SHAPE))
    y = (mean + sigma[0] * std * noise).astype(np.float32)
    frames = [mean + (y - mean) / np.sqrt(1.0 + sigma[0] ** 2)]
    for i in range(steps):
        level = np.full(len(y), sigma[i] * std, np.float32)
        x_0 = model.run("denoise", image=y, noise_level=level)["image"]
        y = x_0 + np.float32(sigma[i + 1] / sigma[i]) * (y - x_0)
        frames.append(mean + (y - mean) / np.sqrt(1.0 + sigma[i + 1] ** 2))
    return shown, np.clip(np.stack([frames[i] for i in shown]), 0.0, 1.0)
