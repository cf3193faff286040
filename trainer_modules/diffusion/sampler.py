"""The reverse process: from pure noise to images in a few steps.

One solver with one knob: ``eta`` = 1 follows the reverse stochastic equation (SDE-DPM-Solver++(2M),
Lu et al. 2022, arXiv 2211.01095, section 6), ``eta`` = 0 the deterministic one (DPM-Solver++(2M),
their algorithm 2). Without the estimate of the previous step these are DDPM's ancestral sampler and
DDIM. More noise leaves every marginal unchanged (Karras et al. 2022, eq. 6) and lets a network
correct its earlier errors (docs/lab-book.md has the distances by ``eta``).

Noise is added only below ``_NOISE_ADDED_BELOW``, as in Karras et al. 2022, section 4 (their
S_tmax). Above it coarse steps with noise drift towards the densest class (docs/lab-book.md).
"""

from collections.abc import Callable

import keras
from keras import ops

from core.images import IMAGE_SHAPE
from trainer_modules.common.halves import call_in_halves
from trainer_modules.diffusion import schedule
from trainer_modules.diffusion.clusters import spread_clusters
from trainer_modules.diffusion.guidance import eta_of, sizes_of

_NOISE_ADDED_BELOW = 4.0  # sigma of standardised images; steps from above it are deterministic


def sample(
    predict_velocity: Callable,
    noise: Callable,
    count,
    steps,
    low: float,
    high: float,
    eta: float,
):
    """Generates ``count`` standardised images [count, 28, 28, 1] in [low, high].

    Args:
        predict_velocity: (x_t [B, 28, 28, 1], t [B]) -> v; the trained network.
        noise: (k) -> standard normal [count, 28, 28, 1]; k = 0 for the start, k = i + 1 for the
            noise that step i adds when ``eta`` > 0. The caller owns the random generator.
        count: Number of images, int or int tensor.
        steps: Number of network calls, int or int tensor, at least 1.
        low: Smallest value of a standardised image (a black pixel).
        high: Largest value; each estimate of x_0 is clipped to [low, high].
        eta: Strength of the noise that each step from below ``_NOISE_ADDED_BELOW`` adds and
            removes, at least 0.
    """
    total = ops.cast(steps, "float32")

    def time(i):
        return 1.0 - ops.cast(i, "float32") / total

    def step(i, state):
        x_t, x_0_before = state
        # Estimate the clean image.
        times = ops.ones((count,), "float32") * time(i)
        x_0, _ = schedule.split_velocity(x_t, predict_velocity(x_t, times), times)
        x_0 = ops.clip(x_0, low, high)
        # Extrapolate to the middle of the step, linearly in the log-SNR of the last two estimates.
        # The first step has only one estimate, and the last step goes to infinite SNR.
        a_t, a_s = schedule.alpha_bar(time(i)), schedule.alpha_bar(time(i + 1))
        a_before = schedule.alpha_bar(time(ops.maximum(i - 1, 0)))
        h, h_before = _half_log_snr(a_s, a_t), _half_log_snr(a_t, a_before)
        inner = ops.logical_and(h_before > 1e-3, ops.cast(i + 1, "float32") < total)
        weight = ops.where(inner, 0.5 * h / ops.maximum(h_before, 1e-3), 0.0)
        x_0_middle = x_0 + weight * (x_0 - x_0_before)
        # Move.
        shrink = ops.exp(-h)
        churn = ops.where(time(i) <= schedule.time_of_noise(_NOISE_ADDED_BELOW), eta, 0.0)
        x_s = (
            ops.sqrt((1.0 - a_s) / (1.0 - a_t)) * ops.power(shrink, churn) * x_t
            + ops.sqrt(a_s) * (1.0 - ops.power(shrink, 1.0 + churn)) * x_0_middle
        )
        # Add noise.
        if eta > 0:
            added = (1.0 - a_s) * (1.0 - ops.power(shrink, 2.0 * churn))
            x_s += ops.sqrt(ops.maximum(added, 0.0)) * noise(i + 1)
        return x_s, x_0

    start = noise(0)
    x_0, _ = ops.fori_loop(0, steps, step, (start, start))
    return ops.clip(x_0, low, high)


def _half_log_snr(a_s, a_t):
    """lambda_s - lambda_t, with lambda = log(sqrt(alpha_bar) / sqrt(1 - alpha_bar))."""
    tiny = 1e-12  # alpha_bar is 1 at time 0
    return 0.5 * (ops.log(a_s / a_t) - ops.log((1.0 - a_s + tiny) / (1.0 - a_t)))


class Sampler(keras.Model):
    """``sample`` as a model, so that Keras' own ``predict_on_batch`` compiles it on any backend.

    All noise is an input: a random generator with state cannot run within a compiled loop.
    """

    def __init__(self, generator: keras.Model, steps: int, pixel_mean: float, pixel_std: float):
        super().__init__(name="sampler", dtype="float32")
        self.generator = generator
        self.steps = steps
        self.pixel_mean = pixel_mean
        self.pixel_std = pixel_std

    def call(self, inputs):
        """Images [B, 28, 28, 1] in [0, 1] from what ``noise`` returns."""
        noise, cluster = inputs
        x_0 = sample(
            lambda x_t, t: call_in_halves(self.generator, [x_t, t, cluster]),
            lambda k: ops.take(noise, k, axis=1),
            ops.shape(noise)[0],
            self.steps,
            low=(0.0 - self.pixel_mean) / self.pixel_std,
            high=(1.0 - self.pixel_mean) / self.pixel_std,
            eta=eta_of(self.generator),
        )
        return ops.clip(x_0 * self.pixel_std + self.pixel_mean, 0.0, 1.0)

    def noise(self, count: int, seed: int):
        """The model's input for ``count`` images; equal seeds give equal noise.

        Returns:
            Standard normal [count, steps + 1, 28, 28, 1] and clusters [count].
        """
        order = keras.random.uniform((count + 1,), seed=seed)
        cluster = spread_clusters(order[1:], order[0], sizes_of(self.generator))
        return keras.random.normal((count, self.steps + 1, *IMAGE_SHAPE), seed=seed), cluster
