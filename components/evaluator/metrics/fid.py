"""FID: the Fréchet distance on Inception-v3's pool3 features, 2,048 per image. Off by default.

Heusel et al. 2017 (arXiv 1706.08500). Images are enlarged from the 256 grey values of a file to 299
x 299 by bilinear interpolation at half-pixel centres, which is what Pillow's antialiased filter
does when it enlarges (Parmar et al. 2022, arXiv 2104.11222, "clean-fid"), not rounded again,
repeated over three channels, and given in [-1, 1]. The weights are Keras' ImageNet weights, not the
2015 graph of the reference implementations: values are comparable only with the same file. About 20
minutes per 10,000 images on two cores.
"""

from typing import Any

import numpy as np

from core.config import InputError
from core.progress import report

SIZE, FEATURES = 299, 2048
DOWNLOAD = "imagenet"  # instead of a file: Keras fetches its own weights
_BATCH = 32


def load_inception(weights: str) -> Any:
    """Inception-v3 up to pool3: images [B, 299, 299, 3] in [-1, 1] -> [B, 2048].

    Args:
        weights: A file of Keras' InceptionV3 without its top (.weights.h5 or .h5), or "imagenet".

    Raises:
        InputError: The file cannot be read or holds another network; or the download fails.
    """
    import keras

    build = keras.applications.InceptionV3
    shape = (SIZE, SIZE, 3)
    try:
        if weights == DOWNLOAD:
            return build(include_top=False, weights=DOWNLOAD, pooling="avg", input_shape=shape)
        network = build(include_top=False, weights=None, pooling="avg", input_shape=shape)
        network.load_weights(weights)
    except Exception as error:  # Keras, h5py and urllib each raise their own
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"evaluator.fid_weights: Cannot load Inception-v3 weights from {weights}: {first} "
            "Give a weights file of keras.applications.InceptionV3(include_top=False), or null."
        ) from error
    return network


def enlarge(images: np.ndarray) -> np.ndarray:
    """Images [B, 28, 28, 1] in [0, 1] as Inception takes them: [B, 299, 299, 3] in [-1, 1]."""
    from keras import ops

    grey = np.round(255 * images) / np.float32(255)
    large = ops.image.resize(grey, (SIZE, SIZE), interpolation="bilinear", antialias=True)
    large = np.clip(ops.convert_to_numpy(large), 0.0, 1.0)
    return np.repeat(2.0 * large - 1.0, 3, axis=-1)


def pool3_features(network: Any, images: np.ndarray, stage: str = "") -> np.ndarray:
    """Features [N, 2048] of images [N, 28, 28, 1] in [0, 1]."""
    parts = []
    for start in range(0, len(images), _BATCH):
        parts.append(network.predict_on_batch(enlarge(images[start : start + _BATCH])))
        if stage:
            report(stage, min(start + _BATCH, len(images)), len(images))
    return np.concatenate(parts)
