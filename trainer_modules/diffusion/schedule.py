"""The forward process: a variance-preserving diffusion with the shifted cosine schedule.

Symbols follow Ho et al. 2020 (DDPM): ``alpha_bar`` in (0, 1] is the share of signal variance left
at time ``t`` in [0, 1], so that q(x_t | x_0) = N(sqrt(alpha_bar) x_0, (1 - alpha_bar) I), their eq.
4. Images are standardised first (zero mean, unit variance), which keeps x_t at unit variance for
every t. Plain ``keras.ops``; the same code runs in training, sampling and serving.
"""

import math

from keras import ops

STEPS = 1000  # Integer step k of the served `forward` signature is t = k / STEPS.
# A digit stays readable under noise of three standard deviations, so its class is decided in the
# last fifth of the plain cosine schedule. The shift gives that part two fifths of all steps.
SHIFT = 0.4
# A training spends 1 / (1 - MIDDLE) times the average on the middle of the schedule, where shapes
# are decided, and 1 / (1 + MIDDLE) times on its ends, where little is left to learn.
MIDDLE = 0.8
_FLOOR = 1e-5  # alpha_bar at t = 1; exactly 0 would leave nothing to divide by in the samplers.


def alpha_bar(t):
    """Signal variance left at time ``t`` in [0, 1].

    The cosine schedule cos^2(pi t / 2) (Nichol & Dhariwal 2021, eq. 17, offset 0) with its
    log-SNR shifted by 2 log SHIFT (Hoogeboom et al. 2023, "Simple diffusion", eq. 7).
    """
    sigma = ops.tan(ops.clip(t, 0.0, 0.9999) * (math.pi / 2)) / SHIFT
    return ops.maximum(1.0 / (1.0 + ops.square(sigma)), _FLOOR)


def training_time(share):
    """The time in [0, 1] at which ``share`` in [0, 1] of a training lies at smaller times.

    These times are dense in the middle; the loss has no weight that would undo it. Karras et al.
    2022, table 1, and Esser et al. 2024, section 3.1, favour the middle by other distributions.
    """
    return share + MIDDLE * ops.sin(2 * math.pi * share) / (2 * math.pi)


def diffuse(x_0, eps, t):
    """Samples x_t ~ q(x_t | x_0) in closed form for noise ``eps`` ~ N(0, I) (DDPM, eq. 14).

    Args:
        x_0: [B, 28, 28, 1] standardised images.
        eps: Standard normal noise of the same shape.
        t: [B] times in [0, 1].
    """
    a = ops.reshape(alpha_bar(t), (-1, 1, 1, 1))
    return ops.sqrt(a) * x_0 + ops.sqrt(1.0 - a) * eps


def velocity(x_0, eps, t):
    """The regression target v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x_0.

    Salimans & Ho 2022, section 4: unit variance at every t, so no loss weights are needed.
    """
    a = ops.reshape(alpha_bar(t), (-1, 1, 1, 1))
    return ops.sqrt(a) * eps - ops.sqrt(1.0 - a) * x_0


def split_velocity(x_t, v, t):
    """Solves x_t and v for the pair (x_0, eps): the inverse of ``diffuse`` and ``velocity``."""
    a = ops.reshape(alpha_bar(t), (-1, 1, 1, 1))
    signal, noise = ops.sqrt(a), ops.sqrt(1.0 - a)
    return signal * x_t - noise * v, noise * x_t + signal * v


def time_of_noise(sigma):
    """The time at which x_t / sqrt(alpha_bar) is image plus noise of standard deviation ``sigma``.

    ``sigma`` [B] is in units of standardised images: alpha_bar = 1 / (1 + sigma^2).
    """
    return ops.arctan(SHIFT * sigma) * (2 / math.pi)
