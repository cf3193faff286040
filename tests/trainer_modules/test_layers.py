"""Layers that several models share: their arithmetic, and the names that saved models hold."""

import keras
import numpy as np
import pytest

from trainer_modules.common.layers import DepthToSpace, RMSNorm, SpaceToDepth


def test_blocks_of_four_pixels_become_channels_row_by_row_and_come_back():
    x = np.arange(2 * 4 * 6 * 3, dtype="float32").reshape(2, 4, 6, 3)
    folded = keras.ops.convert_to_numpy(SpaceToDepth()(x))
    assert folded.shape == (2, 2, 3, 12)
    np.testing.assert_array_equal(folded[1, 1, 2].reshape(2, 2, 3), x[1, 2:4, 4:6])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(DepthToSpace()(folded)), x)


def test_shapes_are_known_without_a_batch_size():
    assert SpaceToDepth()(keras.Input((28, 28, 1))).shape == (None, 14, 14, 4)
    assert DepthToSpace()(keras.Input((7, 7, 64))).shape == (None, 14, 14, 16)
    assert RMSNorm()(keras.Input((7, 7, 64))).shape == (None, 7, 7, 64)


def test_each_image_is_normalised_by_the_mean_square_of_its_whole_map():
    x = np.random.default_rng(0).normal(3.0, 2.0, (5, 7, 7, 8)).astype("float32")
    x[0] *= 1e-3  # so small that the constant counts
    expected = x / np.sqrt(np.square(x).mean(axis=(1, 2, 3), keepdims=True) + 1e-6)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(RMSNorm()(x)), expected, rtol=1e-5)


@pytest.mark.parametrize("layer", [RMSNorm, SpaceToDepth, DepthToSpace])
def test_saved_models_find_the_layer_by_its_name(layer):
    assert keras.saving.get_registered_name(layer) == f"inkwell>{layer.__name__}"
