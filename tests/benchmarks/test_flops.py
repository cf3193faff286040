"""Operations of small networks, worked out by hand."""

import keras
import numpy as np
import pytest
from keras import layers

from benchmarks import flops
from trainer_modules.diffusion import guidance
from trainer_modules.diffusion.config import DiffusionConfig
from trainer_modules.diffusion.model import build_network
from trainer_modules.gan.config import GanConfig
from trainer_modules.gan.model import build_discriminator, build_generator

CONV = 2 * (4 * 4) * (3 * 3 * 2) * 5  # 16 places, a 3x3 kernel from 2 channels to 5
POINT = 2 * (4 * 4) * 5 * 3  # a dense layer at every place
HEAD = 2 * (4 * 4 * 3) * 7  # a dense layer over the flattened map


def network() -> keras.Model:
    image = keras.Input((8, 8, 2))
    x = layers.Conv2D(5, 3, strides=2, padding="same", name="conv")(image)
    x = layers.Dense(3, name="point")(layers.Activation("relu")(x))
    x = layers.Dropout(0.5)(layers.Flatten()(x * 2.0))
    return keras.Model(image, layers.Dense(7, name="head")(x))


def test_forward_pass():
    assert flops.forward_flops(network()) == CONV + POINT + HEAD


def test_a_step_is_three_forward_passes_but_for_the_first_layers_input():
    assert flops.step_flops(network()) == 2 * CONV + 3 * POINT + 3 * HEAD
    assert flops.step_flops(network(), input_gradient=True) == 3 * (CONV + POINT + HEAD)


def test_frozen_layers_cost_what_back_propagation_needs_of_them():
    model = network()
    model.get_layer("conv").trainable = False
    assert flops.step_flops(model) == CONV + 2 * POINT + 3 * HEAD
    model.get_layer("head").trainable = False
    assert flops.step_flops(model) == CONV + 2 * POINT + 2 * HEAD
    assert flops.step_flops(model, trained=False) == flops.forward_flops(model)
    through = flops.step_flops(model, trained=False, input_gradient=True)
    assert through == 2 * flops.forward_flops(model)


def test_a_branch_without_trained_layers_has_no_gradient():
    x, t = keras.Input((4,)), keras.Input((3,))
    frozen = layers.Dense(6, trainable=False)(t)
    model = keras.Model([x, t], layers.Dense(2)(layers.Dense(6)(x) + frozen))
    assert flops.step_flops(model) == 2 * (2 * 4 * 6) + 2 * 3 * 6 + 3 * (2 * 6 * 2)


def test_a_step_of_either_side_of_the_gan():
    config = GanConfig(channels=4)
    generator, critic = build_generator(config), build_discriminator(config)
    g, d = flops.forward_flops(generator), flops.forward_flops(critic)
    g_first = 2 * config.latent_size * 256
    d_first = 2 * 14 * 14 * (3 * 3 * 4) * 4
    # Fakes are drawn once, four images pass the critic and teach it; then fakes are drawn and
    # learnt from, through the critic's verdict on two images.
    expected = g + 4 * (3 * d - d_first) + (3 * g - g_first) + 2 * 2 * d
    assert flops.gan_flops(generator, critic) == expected


def test_a_frozen_encoder_is_passed_forward_only():
    code = keras.Input((7,))
    encoder, decoder = network(), keras.Model(code, layers.Dense(4)(code))
    whole = flops.autoencoder_flops(encoder, decoder)
    assert whole == flops.step_flops(encoder) + 3 * (2 * 7 * 4)
    two_views = flops.autoencoder_flops(encoder, decoder, contrastive=True)
    assert two_views == whole + flops.step_flops(encoder)
    encoder.trainable = False
    assert flops.autoencoder_flops(encoder, decoder) == flops.forward_flops(encoder) + 2 * 56


def test_guidance_counts_the_network_and_the_linear_denoiser():
    network = build_network(DiffusionConfig(channels=4, global_width=8))
    images = np.random.default_rng(0).random((20, 28, 28, 1), "float32")
    generator = guidance.build_generator(network, 0.5, 3.0, images, 0.5, 0.3)
    linear = 2 * 784 * (784 + 784)
    assert flops.forward_flops(generator) == flops.forward_flops(network) + linear


def test_a_layer_that_is_not_counted_is_an_error():
    words = keras.Input((5,), dtype="int32")
    model = keras.Model(words, layers.Embedding(10, 4)(words))
    with pytest.raises(ValueError, match="Embedding"):
        flops.forward_flops(model)
