"""What every exported signature is bounded by, whichever server runs it."""

import contextlib
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer_modules.common import export
from trainer_modules.diffusion import guidance
from trainer_modules.diffusion.config import DiffusionConfig
from trainer_modules.diffusion.model import build_network
from trainer_modules.diffusion.signatures import signatures as of_diffusion
from trainer_modules.gan.config import GanConfig
from trainer_modules.gan.model import build_discriminator, build_generator
from trainer_modules.gan.sampler import Calibration
from trainer_modules.gan.signatures import signatures as of_gan


def made_now() -> dict:
    """Signatures of small networks, whose graphs are not built yet."""
    small = GanConfig(channels=4)
    network = build_network(DiffusionConfig(channels=4, global_width=8))
    for weight in network.trainable_variables:  # its last layer is zero at first
        weight.assign(tf.random.stateless_normal(weight.shape, [1, 2], stddev=0.1))
    images = np.random.default_rng(0).uniform(size=(9, 28, 28, 1))
    generator = guidance.build_generator(network, 0.0, 3.0, images, 0.1, 0.3)
    return {
        "gan": of_gan(build_generator(small), build_discriminator(small), Calibration(0.0, 1.0)),
        "diffusion": of_diffusion(generator, network, 0.1, 0.3),
    }


@pytest.fixture(scope="module")
def networks() -> dict:
    return made_now()


def traced(signature: export.Signature) -> Callable[..., dict]:
    """The signature in a graph of its own, as a server has it."""
    endpoint = export._endpoint(signature)
    return lambda **inputs: endpoint(*[tf.constant(inputs[name]) for name in signature.inputs])


def generate(networks, model: str) -> np.ndarray:
    return traced(networks[model]["generate"])(seed=7, count=5, steps=2)["image"].numpy()


@pytest.mark.parametrize("model", ["gan", "diffusion"])
def test_images_do_not_depend_on_how_many_are_made_at_one_time(model, monkeypatch):
    keras.utils.set_random_seed(1)
    whole = generate(made_now(), model)
    assert whole.shape == (5, 28, 28, 1) and np.abs(whole[0] - whole[1]).max() > 0.01
    monkeypatch.setattr(export, "_CHUNK", 2)
    keras.utils.set_random_seed(1)
    np.testing.assert_allclose(generate(made_now(), model), whole, atol=1e-5)


def test_a_function_gets_no_more_rows_than_fit_into_memory(monkeypatch):
    monkeypatch.setattr(export, "_CHUNK", 3)
    given = []

    def brighten(image, by):
        given.append(len(image))
        return image + tf.reshape(by, [-1, 1, 1, 1])

    images = tf.zeros([7, 28, 28, 1])
    made = export.in_chunks(brighten, images, tf.range(7.0))
    assert given == [3, 3, 1]
    np.testing.assert_array_equal(made[:, 0, 0, 0], np.arange(7))


@pytest.mark.parametrize("model", ["gan", "diffusion"])
def test_numbers_that_ask_for_too_much_fail_with_a_sentence(networks, model):
    bounds = {"count": 10_000} | ({"steps": 1000} if model == "diffusion" else {})
    for signature in ("generate", "generate_png"):
        endpoint = traced(networks[model][signature])
        for name, most in bounds.items():
            for value in (-1, 0, most + 1, 2**31 - 1):
                inputs = {"seed": 1, "count": 1, "steps": 1, name: value}
                said = f"The input {name} is {value}; it must be between 1 and {most}."
                with pytest.raises(tf.errors.InvalidArgumentError, match=said):
                    endpoint(**inputs)


def test_a_weight_is_written_once_and_a_graph_is_built_once(tmp_path):
    image = keras.Input((28, 28, 1))
    inner = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(image))
    outer = keras.Model(image, 2 * inner(image))
    built = []

    def double(image):
        built.append(image.shape)
        return {"image": outer(image)}

    both = export.Signature(double, {"image": export.image_spec()})
    signatures = export.with_png({"serving_default": both, "denoise": both}, set())
    export.write_saved_model(tmp_path, [outer, inner], signatures)
    assert len(built) == 1

    checkpoint = tf.train.load_checkpoint(str(tmp_path / "variables" / "variables"))
    shapes = checkpoint.get_variable_to_shape_map().values()
    assert sum(np.prod(shape) for shape in shapes if shape) == outer.count_params() == 10
    served = tf.saved_model.load(str(tmp_path)).signatures
    assert set(served) == {"serving_default", "serving_default_png", "denoise", "denoise_png"}
    digits = np.random.default_rng(0).random((2, 28, 28, 1), "float32")
    expected = outer(digits)
    for name in ("serving_default", "denoise"):
        found = served[name](image=tf.constant(digits))["image"]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("value", [1, 2, 10])
def test_the_bounds_themselves_are_allowed(value):
    assert export.check_between("count", tf.constant(value), 1, 10) == value


def test_pngs_of_another_size_or_format_are_refused():
    grey = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), dtype="uint8")
    right = [tf.io.encode_png(image).numpy() for image in grey]
    np.testing.assert_allclose(export.decode_png(tf.constant(right)), grey / 255, atol=1e-6)
    wrong = [
        *(b"", b"not a png", right[0][:23]),
        *(tf.io.encode_png(np.zeros(s, "uint8")).numpy() for s in ((30, 28, 1), (28, 30, 1))),
        tf.io.encode_jpeg(grey[0]).numpy(),
    ]
    for file in wrong:
        with pytest.raises(tf.errors.InvalidArgumentError, match="A PNG must be 28 pixels high"):
            export.decode_png(tf.constant([right[0], file]))
    with contextlib.suppress(tf.errors.InvalidArgumentError):  # a header alone is no picture
        export.decode_png(tf.constant([right[0][:40]]))
        pytest.fail("a PNG without pixels was decoded")
