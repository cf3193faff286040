"""A SavedModel as the Evaluator sees it: named signatures, called in batches, outputs checked.

Contract: arrays in, float32 arrays out; an output with NaN or infinity raises ``NotFinite``, which
becomes a missing metric and a failed gate. TensorFlow is imported only to load.
"""

import concurrent.futures
import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.config import InputError
from core.processors import AT_A_TIME
from core.progress import report
from core.wording import NOT_RUN


class NotFinite(ValueError):
    """A model gave NaN or infinity; the message says which signature, and how many values."""


class NotRun(ValueError):
    """A measurement was left out on purpose; the message says why, and how to get it."""


DEEP_ONLY = f"{NOT_RUN}inkwell evaluate --deep measures it"  # message of the usual ``NotRun``


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """Signatures of one SavedModel; ``handle`` keeps its variables alive."""

    name: str  # of the model: autoencoder, diffusion, gan or judge
    path: str
    handle: Any
    batch_size: int

    def signature(self, name: str) -> Any:
        """The signature ``name``, TensorFlow's function of named inputs to named outputs.

        Raises:
            InputError: The SavedModel lacks it.
        """
        if name not in self.handle.signatures:
            found = ", ".join(sorted(self.handle.signatures)) or "none"
            raise InputError(f"The model in {self.path} has no signature {name}; it has {found}.")
        return self.handle.signatures[name]

    def inputs(self, name: str) -> Mapping[str, Any]:
        """Specifications of the inputs of the signature ``name``."""
        return self.signature(name).structured_input_signature[1]

    def size_of(self, name: str, output: str) -> int:
        """Numbers per image in ``output`` of the signature ``name``, as it declares them."""
        return int(self.signature(name).structured_outputs[output].shape[-1])

    def run(self, name: str, stage: str = "", **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Calls the signature ``name`` on batches of ``inputs``, which all have N rows.

        Args:
            name: Name of the signature.
            stage: Words for the progress report; none is made where empty.
            **inputs: Arrays [N, ...] by tensor name.

        Returns:
            Outputs [N, ...] by tensor name.

        Raises:
            NotFinite: An output holds NaN or infinity.
        """
        count = len(next(iter(inputs.values())))
        calls = (
            {key: value[start : start + self.batch_size] for key, value in inputs.items()}
            for start in range(0, count, self.batch_size)
        )
        return self._outputs(name, calls, count, stage)

    def generate(self, count: int, seed: int, stage: str = "", **settings: int) -> np.ndarray:
        """Generates ``count`` images [count, 28, 28, 1], ``batch_size`` per seed.

        Batch i has seed ``seed * 1000003 + i`` (mod 2^31), so two evaluations with
        neighbouring seeds share no batch.

        Raises:
            NotFinite: A pixel is NaN or infinite.
        """
        calls = (
            {
                "seed": np.int32((seed * 1_000_003 + i) % 2**31),
                "count": np.int32(min(self.batch_size, count - start)),
                **{key: np.int32(value) for key, value in settings.items()},
            }
            for i, start in enumerate(range(0, count, self.batch_size))
        )
        return self._outputs("generate", calls, count, stage)["image"]

    def _outputs(
        self, name: str, calls: Iterable[Mapping[str, Any]], count: int, stage: str
    ) -> dict[str, np.ndarray]:
        """Outputs of all ``calls`` of a signature, in their order, ``count`` images in all."""
        import tensorflow as tf

        signature = self.signature(name)

        def call(inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
            outputs = signature(**{key: tf.constant(value) for key, value in inputs.items()})
            return {key: value.numpy() for key, value in outputs.items()}

        parts: dict[str, list[np.ndarray]] = {}
        with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
            for done, outputs in enumerate(pool.map(call, calls), 1):
                for key, value in outputs.items():
                    parts.setdefault(key, []).append(value)
                if stage:
                    report(stage, min(done * self.batch_size, count), count)
        return {key: self._checked(name, np.concatenate(value)) for key, value in parts.items()}

    def _checked(self, name: str, values: np.ndarray) -> np.ndarray:
        bad = int(np.size(values) - np.isfinite(values).sum())
        if bad:
            raise NotFinite(
                f"signature {name} gave {bad:,} values of {np.size(values):,} that are NaN or "
                "infinite"
            )
        return values


def load_model(name: str, path: str | Path, batch_size: int) -> LoadedModel:
    """Loads the SavedModel in ``path``.

    Raises:
        InputError: There is no SavedModel, or it cannot be read.
    """
    import tensorflow as tf

    path = Path(path)
    if not (path / "saved_model.pb").is_file():
        raise InputError(f"There is no SavedModel of {name} in {path}.")
    try:
        handle = tf.saved_model.load(str(path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"The SavedModel of {name} in {path} cannot be loaded: {first}") from error
    return LoadedModel(name, str(path), handle, batch_size)
