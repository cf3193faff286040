"""Counts the arithmetic of a Keras network from its layers: convolutions and dense layers only.

Contract: a multiplication with its addition is two operations; padding is counted as if it were
pixels; norms, activations, losses and the optimizer are left out, which in networks such as ours
come to a few percent. A training step counts only what back-propagation needs: a layer's output,
the gradient of its kernel where it is trained, and the gradient of its input where something before
it is trained. That is three times the forward pass but for the first layer.
"""

import math

import keras

from trainer_modules.diffusion.clusters import ClusterCode
from trainer_modules.diffusion.guidance import LinearDenoiser


def forward_flops(network: keras.Model) -> int:
    """Operations per image of one forward pass of a functional ``network``.

    Raises:
        ValueError: A layer with weights is of a kind that is not counted.
    """
    return sum(_output_flops(operation) for operation in network.operations)


def step_flops(
    network: keras.Model, trained: bool | None = None, input_gradient: bool = False
) -> int:
    """Operations per image of a forward pass and the gradients of one training step.

    Args:
        network: A functional model, each of whose layers is called once.
        trained: Whether all layers are trained, or none; None uses each layer's setting.
        input_gradient: Whether the source of the network's input is trained too.

    Raises:
        ValueError: As ``forward_flops``.
    """
    with_gradient = {id(tensor) for tensor in network.inputs if input_gradient}
    total = 0
    for operation in network.operations:  # in the order of the data
        if isinstance(operation, keras.layers.InputLayer):
            continue
        output = _output_flops(operation)
        own = bool(output) and (operation.trainable if trained is None else trained)
        before = any(id(tensor) in with_gradient for tensor in keras.tree.flatten(operation.input))
        total += output * (1 + own + before)
        if own or before:
            with_gradient |= {id(tensor) for tensor in keras.tree.flatten(operation.output)}
    return total


def autoencoder_flops(encoder: keras.Model, decoder: keras.Model, contrastive: bool = False) -> int:
    """Operations per image of one step; with the contrastive loss two views are encoded."""
    trained = bool(encoder.trainable_weights)
    views = 2 if contrastive else 1
    return views * step_flops(encoder) + step_flops(decoder, input_gradient=trained)


def gan_flops(generator: keras.Model, discriminator: keras.Model) -> int:
    """Operations of one step of each network, per real image.

    The discriminator learns from four images of a pair, real and fake and both shifted; the
    generator through two.
    """
    discriminator_step = forward_flops(generator) + 4 * step_flops(discriminator)
    through = step_flops(discriminator, trained=False, input_gradient=True)
    return discriminator_step + step_flops(generator) + 2 * through


def gan_draw_flops(generator: keras.Model, discriminator: keras.Model) -> int:
    """Operations per sampled image: two candidates and the discriminator's score of each."""
    return 2 * (forward_flops(generator) + forward_flops(discriminator))


def _output_flops(operation) -> int:
    """Operations per image of one layer's output; 0 for layers without weights."""
    if isinstance(operation, keras.layers.Conv2D | keras.layers.Dense):
        places = math.prod(operation.output.shape[1:-1])  # [B, (height, width,) channels]
        return 2 * places * math.prod(operation.kernel.shape)
    if isinstance(operation, LinearDenoiser):
        return 2 * 2 * math.prod(operation.directions.shape)  # to the directions and back
    if isinstance(operation, keras.Model):
        return forward_flops(operation)
    if isinstance(operation, ClusterCode):
        return 0  # rows of two tables
    if getattr(operation, "weights", None):
        raise ValueError(f"Layer {operation.name} is a {type(operation).__name__}: not counted.")
    return 0
