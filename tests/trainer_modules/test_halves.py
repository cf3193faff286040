"""A batch in halves gives the outputs and gradients of the whole batch, on the CPU alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer_modules.autoencoder.config import AutoencoderConfig
from trainer_modules.autoencoder.model import build_encoder
from trainer_modules.common import halves
from trainer_modules.common.halves import call_in_halves
from trainer_modules.diffusion.config import DiffusionConfig
from trainer_modules.diffusion.model import build_network
from trainer_modules.gan.config import GanConfig
from trainer_modules.gan.model import build_discriminator, build_generator
from trainer_modules.judge.config import JudgeConfig
from trainer_modules.judge.model import JudgeTrainer, build_model


class Sizes:
    """A network that keeps the sizes of the batches that it is called with."""

    def __init__(self):
        self.seen: list[int] = []

    def __call__(self, x, training):
        self.seen.append(len(x))
        return 2 * x


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)

    def draw(network: keras.Model, size: int) -> list:
        found = []
        for tensor in network.inputs:
            if tensor.dtype == "int32":
                found.append(rng.integers(0, 3, size).astype("int32"))
            else:
                found.append(rng.uniform(0, 1, (size, *tensor.shape[1:])).astype("float32"))
        return found if len(found) > 1 else found[0]

    return draw


NETWORKS = {
    "encoder": lambda: build_encoder(AutoencoderConfig()),
    "denoiser": lambda: build_network(DiffusionConfig(clusters=3)),
    "generator": lambda: build_generator(GanConfig()),
    "discriminator": lambda: build_discriminator(GanConfig()),
    "judge": lambda: build_model(JudgeConfig(dropout=0.0), 10),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_and_gradients_are_those_of_the_whole_batch(name, inputs):
    keras.utils.set_random_seed(0)
    network = NETWORKS[name]()
    for weight in network.trainable_weights:  # some begin at zero and would hide the others
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.02, seed=1))

    def found(call, batch):
        @tf.function(reduce_retracing=True)
        def run():
            with tf.GradientTape() as tape:
                output = call(batch)
                loss = tf.reduce_mean(output**2)
            return output, tape.gradient(loss, [w.value for w in network.trainable_weights])

        output, gradients = run()
        return [output.numpy(), *(tf.convert_to_tensor(one).numpy() for one in gradients)]

    batch = keras.tree.map_structure(tf.constant, inputs(network, 5))  # halves of two sizes
    apart = found(lambda x: call_in_halves(network, x, training=True), batch)
    whole = found(lambda x: network(x, training=True), batch)
    for one, other in zip(apart, whole, strict=True):
        scale = np.abs(other).max()
        np.testing.assert_allclose(one / scale, other / scale, atol=2e-4)


@pytest.mark.parametrize(("size", "parts"), [(1, [1, 1]), (2, [1, 1]), (5, [2, 3])])
def test_every_image_has_its_output_once_and_no_part_is_empty(size, parts):
    network = Sizes()
    given = tf.range(size)
    assert call_in_halves(network, given).numpy().tolist() == [2 * i for i in range(size)]
    assert network.seen == parts


def test_the_last_image_of_an_evaluation_may_be_alone():
    """The size of a batch is unknown where the program is built."""
    trainer = JudgeTrainer(build_model(JudgeConfig(), 10))
    images = np.random.default_rng(0).uniform(0, 1, (5, 28, 28, 1)).astype("float32")
    alone = trainer.predict(images, batch_size=4, verbose=0)
    np.testing.assert_allclose(alone, trainer.judge.predict(images, verbose=0), atol=1e-5)


def test_a_gpu_and_another_backend_get_the_whole_batch(monkeypatch):
    halves._on_cpu.cache_clear()
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: ["one"])
    network = Sizes()
    call_in_halves(network, tf.range(8))
    halves._on_cpu.cache_clear()
    assert network.seen == [8]
    assert not halves._on_cpu("jax")
    halves._on_cpu.cache_clear()
