"""Requests for a signature, made from the names of its inputs and real images.

Contract: the names are the project's fixed ones; each has one element type and one shape, and all
but the scalars have a dynamic batch. Anything else is a ``Refusal``: a client could not call it.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from components.serving_check.config import ServingCheckConfig
from core.images import IMAGE_SHAPE
from serving.images import encode_png

_SEED = 1
_ANY = -1  # a size that the model chooses


class Refusal(Exception):
    """The candidate may not be pushed; the message is the reason, in words."""


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """Declared type and shape of one input; None in ``shape`` is a dynamic size."""

    dtype: str
    shape: tuple[int | None, ...]


_SPECS = {
    "image": InputSpec("float32", (None, *IMAGE_SHAPE)),
    "image_bytes": InputSpec("string", (None,)),
    "latent": InputSpec("float32", (None, _ANY)),
    "code": InputSpec("float32", (None, _ANY)),
    "noise_level": InputSpec("float32", (None,)),
    "step": InputSpec("int32", (None,)),
    "seed": InputSpec("int32", ()),
    "count": InputSpec("int32", ()),
    "steps": InputSpec("int32", ()),
}


def specs_of(signature: tf.types.experimental.ConcreteFunction) -> dict[str, InputSpec]:
    """Inputs of a signature as ``tf.saved_model.load`` gives it."""
    _, specs = signature.structured_input_signature
    return {
        name: InputSpec(spec.dtype.name, tuple(spec.shape.as_list()))
        for name, spec in specs.items()
    }


def check_specs(specs: Mapping[str, InputSpec]) -> None:
    """Checks names, types and shapes of the inputs of one signature.

    Raises:
        Refusal: An unknown name, or another type or shape than the fixed one.
    """
    for name, spec in specs.items():
        if name not in _SPECS:
            raise Refusal(
                f"has an unknown input {name!r}; the inputs are {', '.join(sorted(_SPECS))}."
            )
        wanted = _SPECS[name]
        is_same_shape = len(spec.shape) == len(wanted.shape) and all(
            given is not None if size == _ANY else given == size
            for given, size in zip(spec.shape, wanted.shape, strict=True)
        )
        if spec.dtype != wanted.dtype or not is_same_shape:
            raise Refusal(
                f"takes {name!r} as {_describe(spec)}, and it must be {_describe(wanted)}."
            )


def make_inputs(
    specs: Mapping[str, InputSpec],
    images: np.ndarray,
    config: ServingCheckConfig,
    encode: Callable[[np.ndarray], np.ndarray],
    count: int,
) -> dict[str, np.ndarray]:
    """One value per input, for a batch of ``len(images)`` or, if generated, ``count`` samples.

    Args:
        specs: Inputs that ``check_specs`` accepts.
        images: [B, 28, 28, 1] in [0, 1], real ones.
        config: Gives the number of sampling steps.
        encode: Gives the codes [B, D] of images.
        count: Value of the input ``count``.
    """
    batch = len(images)
    rng = np.random.default_rng(_SEED)
    makers: dict[str, Callable[[], np.ndarray | np.int32]] = {
        "image": lambda: images,
        "image_bytes": lambda: np.array(encode_png(images), object),
        "latent": lambda: rng.standard_normal((batch, specs["latent"].shape[1])).astype("float32"),
        "code": lambda: encode(images),
        # A batch of two images has both ends of their ranges.
        "noise_level": lambda: np.linspace(0.0, 1.0, batch, dtype="float32"),
        "step": lambda: np.linspace(0, 1000, batch).astype("int32"),
        "seed": lambda: np.int32(_SEED),
        "count": lambda: np.int32(count),
        "steps": lambda: np.int32(config.generate_steps),
    }
    return {name: np.asarray(makers[name]()) for name in sorted(specs)}


def decode_png(files: np.ndarray) -> np.ndarray:
    """Images [B, H, W, 1] in [0, 1] of PNG files [B].

    Raises:
        Refusal: One of them is not a grey 8-bit PNG, or they differ in size.
    """
    try:
        grey = [tf.io.decode_png(file, channels=1).numpy() for file in files]
        return np.stack(grey).astype("float32") / 255
    except (tf.errors.InvalidArgumentError, ValueError) as error:
        raise Refusal("returns bytes that are not PNG files of one size.") from error


def _describe(spec: InputSpec) -> str:
    words = {None: "batch", _ANY: "width"}
    return f"{spec.dtype} [{', '.join(str(words.get(size, size)) for size in spec.shape)}]"
