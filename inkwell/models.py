"""A pushed model as a Python object, read from the serving directory; no server is needed.

    import inkwell
    digits = inkwell.load("gan").generate(count=64, seed=1)      [64, 28, 28, 1] in [0, 1]

Contract: the same methods and the same answers as ``serving.client.Client`` has of a server that
serves this version. TensorFlow is imported when a model is loaded. A SavedModel is a program, so
load only what you or your team trained.
"""

import base64
import html
import io
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from serving.client import Signatures
from serving.errors import ServingError
from serving.images import grid
from serving.packed import DEMO_MODELS, PACK, packs, unpack
from serving.releases import check_served, served_version
from serving.versions import damage, list_versions

_SHOWN = 32  # digits of a model in a notebook


class Model(Signatures):
    """One version of one model."""

    def __init__(self, path: Path):
        """Loads the SavedModel in ``path``, a directory ``<model>/<version>``."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # it has no GPU, and other news
        import tensorflow as tf

        self.path, self.name, self.version = path, path.parent.name, int(path.name)
        self._loaded = tf.saved_model.load(str(path))

    def __repr__(self) -> str:
        return f"<{self.name}, version {self.version}: {', '.join(self.signatures())}>"

    def _repr_html_(self) -> str:
        """For a notebook: a grid of new digits, if the model generates any, and its methods."""
        words = f"<p>{html.escape(repr(self)[1:-1])}</p>"
        inputs = self.signatures().get("generate")
        if inputs is None:
            return words
        images = self.generate(_SHOWN, seed=0, **({"steps": 20} if "steps" in inputs else {}))
        png = io.BytesIO()
        grid(images).save(png, "PNG")
        encoded = base64.b64encode(png.getvalue()).decode("ascii")
        return f'<img alt="{_SHOWN} digits" src="data:image/png;base64,{encoded}">{words}'

    def signatures(self) -> dict[str, list[str]]:
        """Names of the inputs, sorted, by signature."""
        return {
            name: sorted(signature.structured_input_signature[1])
            for name, signature in sorted(self._loaded.signatures.items())
        }

    def predict(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Runs any signature: arrays by name of the input, to arrays by name of the output.

        Raises:
            ServingError: There is no such signature, the inputs are not those it has, or they lie
                beyond its bounds.
        """
        import tensorflow as tf

        known = self.signatures()
        if signature not in known:
            names = ", ".join(known)
            raise ServingError(f"The {self.name} has no signature {signature}; it has {names}.")
        if sorted(inputs) != known[signature]:
            raise ServingError(
                f"The signature {signature} takes {' and '.join(known[signature])}, not "
                f"{' and '.join(sorted(inputs)) or 'nothing'}."
            )
        function = self._loaded.signatures[signature]
        specs = function.structured_input_signature[1]
        try:
            tensors = {
                name: tf.convert_to_tensor(value, specs[name].dtype)
                for name, value in inputs.items()
            }
            outputs = function(**tensors)
        except (tf.errors.OpError, TypeError, ValueError) as error:
            first = str(getattr(error, "message", error)).strip().splitlines()[0]
            raise ServingError(f"{signature} cannot take these inputs: {first}") from error
        return {name: value.numpy() for name, value in outputs.items()}


def load(
    model: str,
    version: int | None = None,
    serving_dir: str | Path = "serving_models",
    demo: bool = False,
) -> Model:
    """Loads a pushed version of ``model``: autoencoder, diffusion or gan.

    Args:
        model: Its name.
        version: Number; None takes the one that clients get.
        serving_dir: Where runs push to.
        demo: Whether to take the small model that is shipped with the project instead.

    Raises:
        ServingError: There is no such model or version, or its files are damaged.
    """
    if demo:
        return _demo(model)
    folder = Path(serving_dir)
    check_served(folder, model)
    versions = {found.number: found.path for found in list_versions(folder / model)}
    path = served_version(folder, model) if version is None else versions.get(version)
    if path is None:
        known = ", ".join(map(str, sorted(versions)))
        raise ServingError(f"There is no version {version} of {model}; the versions: {known}.")
    if problem := damage(path):
        raise ServingError(f"Version {path.name} of {model} is damaged: {problem}.")
    return Model(path)


def _demo(model: str) -> Model:
    found = {pack.name.removesuffix(PACK): pack for pack in packs(DEMO_MODELS)}
    if model not in found:
        there = ", ".join(found) or "none"
        raise ServingError(f"There is no demo model {model} in {DEMO_MODELS}; it has {there}.")
    with tempfile.TemporaryDirectory(prefix="inkwell-") as folder:
        return Model(unpack(found[model], Path(folder)))  # it reads all files at once
