"""Served versions in one small file each, for the demo that is shipped with the project.

Contract: a pack is ``<model>.tar.xz`` and holds ``<model>/<number>/``, a SavedModel that any server
loads. Its weights are rounded to half precision and still stored as float32: xz takes the zeros
away, and unpacking needs nothing but Python. ``lineage.json`` names the digests of the version it
was made from, and its own. Makes the packs of ``demo/models`` from the served versions, and says
how far each answer moved:

    python -m serving.packed serving_models demo/models
"""

import argparse
import json
import lzma
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.artifacts import KERAS_DIR
from core.files import digests
from serving.errors import ServingError
from serving.releases import served_models, served_version
from serving.signing import MANIFEST_FILE, SIGNATURE_FILE
from serving.versions import FILES_KEY, LINEAGE_FILE, damage, extra_file, model_files, read_lineage

PACK = ".tar.xz"
DEMO_MODELS = Path(__file__).resolve().parents[1] / "demo" / "models"  # shipped
_PACKED_FROM = "packed_from"  # of lineage.json: digests of the version before rounding
_FINGERPRINT = "fingerprint.pb"  # of the weights as they were; no server needs it
_VARIABLES = "variables/variables"
# 4 bytes a number: the position within it tells the coder which byte comes next.
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 2, "lp": 2, "pb": 2}]
_EXAMPLES, _MOST_CHANGE = 16, 0.01
_SEED = 1


def packs(folder: Path) -> list[Path]:
    """The packs in a folder, by name; none where there is no folder."""
    return sorted(folder.glob(f"*{PACK}"))


def pack(version: Path, model: str, target: Path) -> dict[str, float]:
    """Writes ``version`` of ``model`` as a pack; the mean absolute change of each float output.

    Args:
        version: Directory of a pushed version.
        model: Name it is served under.
        target: The file, replaced if it exists.

    Raises:
        ServingError: The version is damaged, or rounding changes an output by more than 0.01.
    """
    if what := damage(version):
        raise ServingError(f"{version} cannot be packed: {what}.")
    with tempfile.TemporaryDirectory() as folder:
        half = Path(folder, model, version.name)
        left = (_FINGERPRINT, MANIFEST_FILE, SIGNATURE_FILE, KERAS_DIR)
        shutil.copytree(version, half, ignore=shutil.ignore_patterns(*left))
        _round_weights(half / _VARIABLES)
        lineage = read_lineage(version)
        lineage |= {_PACKED_FROM: model_files(version), FILES_KEY: model_files(half)}
        lineage_file = extra_file(half, LINEAGE_FILE)
        lineage_file.parent.mkdir(exist_ok=True)
        lineage_file.write_text(json.dumps(lineage, indent=2) + "\n", encoding="utf-8")
        changes = _changes(version, half)
        name, most = max(changes.items(), key=lambda item: item[1])
        if not most <= _MOST_CHANGE:
            raise ServingError(
                f"Half precision changes {name} of {version} by {most:.4f} on average, more than "
                f"{_MOST_CHANGE}; this version cannot be packed."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.with_name(f".{target.name}")
        with (
            lzma.open(staged, "wb", format=lzma.FORMAT_XZ, filters=_FILTERS) as stream,
            tarfile.open(fileobj=stream, mode="w") as archive,
        ):
            for path in sorted(half.rglob("*")):
                archive.add(path, path.relative_to(folder), recursive=False, filter=_anonymous)
        staged.replace(target)
    return changes


def unpack(file: Path, serving_dir: Path) -> Path:
    """Unpacks one pack into a serving directory; the version's directory.

    Raises:
        ServingError: The file is not a whole pack.
    """
    model = file.name.removesuffix(PACK)
    broken = f"{file} is damaged; bring it back with: git checkout -- {file}"
    try:
        with tarfile.open(file, "r:xz") as archive:
            archive.extractall(serving_dir, filter="data")
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise ServingError(f"{broken} ({error})") from None
    version = served_version(serving_dir, model)
    what = damage(version) if version else f"it holds no version of {model}"
    if what or version is None:
        raise ServingError(f"{broken} ({what})")
    return version


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same bytes whoever packs, and whenever."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.isdir() else 0o644
    return entry


def _round_weights(prefix: Path) -> None:
    """Rounds the float32 tensors of a checkpoint to what half precision holds, in place."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(prefix))
    names = sorted(reader.get_variable_to_shape_map())
    tensors = [_rounded(reader.get_tensor(name)) for name in names]
    for file in prefix.parent.glob(f"{prefix.name}.*"):
        file.unlink()
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.convert_to_tensor(tensor) for tensor in tensors],
    )


def _rounded(tensor: Any) -> Any:
    import numpy as np

    if not isinstance(tensor, np.ndarray) or tensor.dtype != np.float32:
        return tensor
    with np.errstate(over="ignore"):
        half = tensor.astype(np.float16).astype(np.float32)
    return half if np.isfinite(half).all() else tensor  # values beyond half precision's range


def _changes(before: Path, after: Path) -> dict[str, float]:
    """Mean absolute change by ``signature.output``, on random numbers from 0 to 1."""
    import tensorflow as tf

    kept, rounded = (tf.saved_model.load(str(path)) for path in (before, after))
    found = {}
    for name, signature in kept.signatures.items():
        inputs = _examples(signature.structured_input_signature[1])
        if inputs is None:
            continue
        outputs, others = signature(**inputs), rounded.signatures[name](**inputs)
        for output, value in outputs.items():
            if value.dtype == tf.float32:
                change = float(tf.reduce_mean(tf.abs(value - others[output])))
                found[f"{name}.{output}"] = change
    return found


def _examples(specs: dict[str, Any]) -> dict[str, Any] | None:
    """Inputs of a signature; None if it takes files."""
    import numpy as np
    import tensorflow as tf

    if any(spec.dtype == tf.string for spec in specs.values()):
        return None
    rng = np.random.default_rng(_SEED)
    inputs = {}
    for name, spec in sorted(specs.items()):
        shape = [size or _EXAMPLES for size in spec.shape]
        whole = np.full(shape, _EXAMPLES)
        values = rng.random(shape) if spec.dtype.is_floating else whole
        inputs[name] = tf.constant(values, spec.dtype)
    return inputs


def _pack_all(serving_dir: Path, folder: Path) -> Iterator[str]:
    """Packs the served version of each model; a line for each, and the size of all."""
    models = served_models(serving_dir)
    if not models:
        raise ServingError(f"There is no model in {serving_dir}; push some with: inkwell run")
    for model in models:
        version = served_version(serving_dir, model)
        if version is None:
            continue
        target = folder / f"{model}{PACK}"
        changes = pack(version, model, target)
        name, most = max(changes.items(), key=lambda item: item[1])
        mib = target.stat().st_size / 2**20
        yield f"{target}: {mib:.1f} MiB; the largest mean change is {most:.1g}, of {name}"
    size = sum(path.stat().st_size for path in packs(folder))
    yield f"{len(digests(folder))} files, {size / 1e6:.1f} MB"


def main() -> int:
    """The command in the module's docstring."""
    parser = argparse.ArgumentParser(description="Packs the served versions for inkwell demo.")
    parser.add_argument("serving", type=Path, help="directory of the pushed versions")
    parser.add_argument("folder", type=Path, help="where the packs go, such as demo/models")
    given = parser.parse_args()
    try:
        for line in _pack_all(given.serving, given.folder):
            print(line)
    except ServingError as error:
        print(f"inkwell: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
