"""A plot of the forward and the reverse process step by step, without metrics. A second.

The reverse process is that of the model's own sampler: its images are those of the signature
``generate`` with the same seed.
"""

from pathlib import Path

import numpy as np

from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part
from components.evaluator.parts import plots
from components.evaluator.references import References
from components.evaluator.results import Plot
from components.evaluator.saved_model import LoadedModel
from core.artifacts import KERAS_DIR

_DIGITS, _FRAMES = 3, 10  # rows of each process, and columns


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """Film strips from a digit to noise and from noise to a digit."""
    return (Part("reverse process", "process", (), measure),)


def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """Both processes of some digits; left out where the model has no Keras file of its network."""
    path = Path(model.path).parent / KERAS_DIR / "generator.keras"
    if not draw or not path.is_file():
        return Measured()
    steps, seed = references.config.generate_steps, references.config.seed
    digits = references.data.test_images[:_DIGITS]
    mean = float(references.data.train_images.mean())
    std = float(references.data.train_images.std())
    shown, reverse = reverse_process(path, steps, seed, mean, std)
    rows = [*forward_process(model, digits, seed), *reverse]
    after = f"{', '.join(map(str, shown[:-1]))} and {shown[-1]}"
    picture = Plot(
        "figures/reverse_process.png",
        "Forward and reverse process",
        "Forward: a test image becomes pure noise from left to right. Reverse: pure noise becomes "
        f"a digit, shown after {after} of {steps} steps of the model's sampler; the last column "
        f"is what the signature generate gives with seed {seed}.",
        plots.image_rows(rows, ["forward"] * _DIGITS + ["reverse"] * _DIGITS),
    )
    return Measured(plots=[picture])


def forward_process(model: LoadedModel, images: np.ndarray, seed: int) -> np.ndarray:
    """Images [N, 28, 28, 1] in [0, 1] with more and more noise: [N, F, 28, 28, 1] in [0, 1]."""
    import tensorflow as tf

    from trainer_modules.diffusion.schedule import STEPS

    forward, frames = model.signature("forward"), []
    for step in np.linspace(0, STEPS, _FRAMES).round().astype(np.int32):
        given = {"image": tf.constant(images), "step": tf.fill([len(images)], step)}
        frames.append(forward(**given, seed=tf.constant(seed, tf.int32))["image"].numpy())
    return np.stack(frames, axis=1)


def reverse_process(
    generator: Path, steps: int, seed: int, mean: float, std: float
) -> tuple[list[int], np.ndarray]:
    """Numbers of the steps that are shown, and images after each: [N, F, 28, 28, 1] in [0, 1].

    Args:
        generator: Keras file of the network that generates.
        steps: Of the sampler.
        seed: As the signature ``generate`` takes it.
        mean: Mean of the train pixels.
        std: Their standard deviation.
    """
    import keras

    from trainer_modules.diffusion import model, sampler  # noqa: F401, the layers of the file
    from trainer_modules.diffusion.guidance import eta_of, sizes_of
    from trainer_modules.diffusion.signatures import chance

    network = keras.models.load_model(generator, compile=False)
    noise, cluster = chance(seed, _DIGITS, sizes_of(network))
    states = []

    def predict_velocity(x_t, t):
        states.append(x_t)  # the sampler's loop runs in Python here
        return network([x_t, t, cluster], training=False)

    low, high = (0.0 - mean) / std, (1.0 - mean) / std
    states.append(
        sampler.sample(predict_velocity, noise, _DIGITS, steps, low, high, eta_of(network))
    )
    shown = sorted({round(i * steps / (_FRAMES - 1)) for i in range(_FRAMES)})
    frames = np.stack([np.asarray(states[i]) for i in shown], axis=1)
    return shown, np.clip(frames * std + mean, 0.0, 1.0)
