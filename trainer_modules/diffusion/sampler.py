"""The reverse process: from pure noise to images in a few steps.

One sampler with one knob (Song et al. 2021, "DDIM", eq. 12 and 16): ``eta`` = 0 is the
deterministic DDIM sampler, ``eta`` = 1 the ancestral sampler of DDPM. 20 deterministic steps are
enough here; ancestral sampling wants about 100.
"""

from __future__ import annotations

from collections.abc import Callable

from keras import ops

from trainer_modules.diffusion import schedule


def sample(
    predict_velocity: Callable,
    noise: Callable,
    count,
    steps,
    low: float,
    high: float,
    eta: float = 0.0,
):
    """Draws ``count`` standardised images [count, 28, 28, 1] in [low, high].

    Args:
        predict_velocity: (x_t [B, 28, 28, 1], t [B]) -> v; the trained network.
        noise: (k) -> standard normal [count, 28, 28, 1]; k = 0 for the start, k = i + 1 for the
            noise that step i adds when ``eta`` > 0. The caller owns the random generator.
        count: Number of images, int or int tensor.
        steps: Number of network calls, int or int tensor, at least 1.
        low: Smallest value of a standardised image (a black pixel).
        high: Largest value; each estimate of x_0 is clipped to [low, high].
        eta: Share of the posterior noise that is added back at each step, in [0, 1].
    """
    total = ops.cast(steps, "float32")

    def step(i, x_t):
        done = ops.cast(i, "float32")
        t, s = 1.0 - done / total, 1.0 - (done + 1.0) / total
        times = ops.ones((count,), "float32") * t
        x_0, _ = schedule.split_velocity(x_t, predict_velocity(x_t, times), times)
        x_0 = ops.clip(x_0, low, high)
        a_t, a_s = schedule.alpha_bar(t), schedule.alpha_bar(s)
        eps = (x_t - ops.sqrt(a_t) * x_0) / ops.sqrt(1.0 - a_t)
        sigma = eta * ops.sqrt((1.0 - a_s) / (1.0 - a_t) * (1.0 - a_t / a_s))  # eq. 16
        direction = ops.sqrt(ops.maximum(1.0 - a_s - ops.square(sigma), 0.0))
        x_s = ops.sqrt(a_s) * x_0 + direction * eps  # eq. 12
        return x_s + sigma * noise(i + 1) if eta > 0 else x_s

    return ops.clip(ops.fori_loop(0, steps, step, noise(0)), low, high)
