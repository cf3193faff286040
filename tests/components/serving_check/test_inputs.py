"""Inputs made from the names of a signature's inputs."""

import numpy as np
import pytest

from components.serving_check.config import ServingCheckConfig
from components.serving_check.inputs import (
    InputSpec,
    Refusal,
    check_specs,
    decode_png,
    make_inputs,
)
from core.config import InputError, from_dict
from serving.images import encode_png
from serving.model_server.limits import Limits

IMAGES = np.random.default_rng(0).random((5, 28, 28, 1), dtype="float32")
IMAGE = InputSpec("float32", (None, 28, 28, 1))


def make(specs: dict[str, InputSpec], count: int = 4) -> dict[str, np.ndarray]:
    check_specs(specs)
    config = ServingCheckConfig(generate_steps=3)
    return make_inputs(specs, IMAGES, config, lambda x: x[:, :2, 0, 0], count)


def test_every_known_name_gets_its_value():
    made = make(
        {
            "image": IMAGE,
            "latent": InputSpec("float32", (None, 64)),
            "code": InputSpec("float32", (None, 2)),
            "noise_level": InputSpec("float32", (None,)),
            "step": InputSpec("int32", (None,)),
            "seed": InputSpec("int32", ()),
            "count": InputSpec("int32", ()),
            "steps": InputSpec("int32", ()),
        }
    )
    np.testing.assert_array_equal(made["image"], IMAGES)
    assert made["latent"].shape == (5, 64) and made["latent"].dtype == np.float32
    np.testing.assert_array_equal(made["code"], IMAGES[:, :2, 0, 0])
    np.testing.assert_allclose(made["noise_level"], [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_array_equal(made["step"], [0, 250, 500, 750, 1000])
    assert (made["count"], made["steps"]) == (4, 3)
    for name in ("step", "seed", "count", "steps"):
        assert made[name].dtype == np.int32


def test_png_files_hold_the_images_to_half_a_grey_level():
    files = make({"image_bytes": InputSpec("string", (None,))})["image_bytes"]
    assert files.shape == (5,) and files[0].startswith(b"\x89PNG")
    assert np.abs(decode_png(files) - IMAGES).max() <= 0.5 / 255 + 1e-6


def test_bytes_that_are_not_png_files_of_one_size_are_refused():
    with pytest.raises(Refusal, match="not PNG files"):
        decode_png(np.array([b"x"], dtype=object))
    sizes = [encode_png(IMAGES[:1])[0], encode_png(IMAGES[:1, :20])[0]]
    with pytest.raises(Refusal, match="one size"):
        decode_png(np.array(sizes, dtype=object))


def test_unknown_name_is_refused_by_name():
    with pytest.raises(Refusal, match="'picture'.*the inputs are code, count, image"):
        check_specs({"image": IMAGE, "picture": IMAGE})


@pytest.mark.parametrize(
    ("name", "spec", "words"),
    [
        ("image", InputSpec("float64", (None, 28, 28, 1)), "as float64 [batch, 28, 28, 1]"),
        ("image", InputSpec("float32", (8, 28, 28, 1)), "as float32 [8, 28, 28, 1]"),
        ("image", InputSpec("float32", (None, 784)), "must be float32 [batch, 28, 28, 1]"),
        ("latent", InputSpec("float32", (None, None)), "must be float32 [batch, width]"),
        ("seed", InputSpec("int32", (None,)), "must be int32 []"),
    ],
)
def test_wrong_type_or_shape_is_refused_with_both(name, spec, words):
    with pytest.raises(Refusal) as caught:
        check_specs({name: spec})
    assert words in str(caught.value)


def test_settings_out_of_range_are_refused():
    with pytest.raises(InputError, match="tolerance"):
        from_dict(ServingCheckConfig, {"tolerance": 0.0})
    with pytest.raises(InputError, match="images"):
        from_dict(ServingCheckConfig, {"images": 1})
    with pytest.raises(InputError, match="generate_steps must be between 1 and 100"):
        from_dict(ServingCheckConfig, {"generate_steps": 101})


def test_every_number_of_steps_that_may_be_set_is_one_that_the_server_takes():
    config = ServingCheckConfig(generate_steps=Limits().max_steps, generate_count=64)
    assert config.generate_count <= Limits().max_count
