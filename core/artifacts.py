"""Files that pass between nodes, read without TFX.

Contract: content that an artifact lacks is None or empty, so that a failed run still gets a report.
A SavedModel is a program, so every node that loads a model first checks that its files are those
that the trainer wrote (``check_files``). A verdict carries the digests of the files that it judged,
so that the push can tell whether they are the same.
"""

import base64
import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.config import InputError
from core.files import difference, digests

SAVED_MODEL_DIR = "Format-Serving"  # of a Model artifact; TFX's name
KERAS_DIR = "Format-Keras"  # of a Model artifact: networks to train on from
# Custom property of a Model artifact: one digest of all its files, set by the node that trained it.
# A runner keeps it with its metadata, apart from the files; on a cluster it must be short to stay
# there (see pipeline/kubeflow/entrypoint.py).
MODEL_DIGEST = "digest"
# Custom property of both verdicts: digests of the files of the SavedModel that was judged, as JSON.
MODEL_FILES = "model_files"
# Custom property of the evaluation's verdict: which gates were not the profile's, in words.
CHANGED_GATES = "changed_gates"
# Custom property of a push: 1 if it was refused as the verdict knows an older champion.
SUPERSEDED = "superseded"
METRICS_FILE = "metrics.json"  # of an evaluation
HISTORY_FILE = "history.json"  # of a training
WARM_START = "warm_start"  # in it, and in lineage.json: the version that a training began from
CONFIG_FILE = "config.json"  # its settings
SAMPLES_DIR = "samples"  # its images
MAP_FILE = "tsne.json"  # points of an evaluation's map
MAP_SPRITE = "figures/tsne_sprite.png"  # their images
_PNG = b"\x89PNG\r\n\x1a\n"  # every PNG begins with it
_STRIP = 2.2  # times as wide as high
_TRAINING_PICTURES = 4  # sample grids shown per training, spread evenly over its steps


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG with title and caption; ``png`` is None where the file is missing."""

    title: str
    caption: str
    png: bytes | None
    file: str = ""  # relative to metrics.json
    topic: str = ""  # section of the report
    is_chart: bool = False  # dark lines on white

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the file's header; zeros where the file is missing."""
        header = (self.png or b"").ljust(24, b"\0")
        return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")

    @property
    def is_strip(self) -> bool:
        """Whether it is flat enough to take the whole page width."""
        width, height = self.size
        return width >= _STRIP * height > 0


@dataclasses.dataclass(frozen=True)
class Stage:
    """One training of one model: history.json and config.json of its Model artifact."""

    title: str
    history: Mapping[str, Any] | None
    config: Mapping[str, Any] | None
    pictures: Sequence[Picture] = ()


def read_json(path: Path) -> Any | None:
    """Content of the JSON file, None if there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def read_bytes(path: Path) -> bytes | None:
    """Content of the file, None if there is no such file."""
    return path.read_bytes() if path.is_file() else None


def read_picture(folder: Path, name: Any) -> bytes | None:
    """The PNG ``name`` below ``folder``, None if there is no such file.

    Names come from a file that others may have written, and the content is published in the report.

    Raises:
        InputError: The name leads out of the folder, by itself or by a link, or the file is no PNG.
    """
    plain = isinstance(name, str) and "\0" not in name and name == Path(name).as_posix()
    path = folder / name if plain and ".." not in Path(name).parts else None
    if path is None or not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{folder} names {name!r} as a picture, which is not the name of a file below it; "
            "do not use these results, and run the evaluation again."
        )
    content = read_bytes(path)
    if content is not None and not content.startswith(_PNG):
        raise InputError(
            f"{path} is named as a picture but is no PNG; do not use these results, and run the "
            "evaluation again."
        )
    return content


def record_files(model: Any) -> None:
    """Sets ``MODEL_DIGEST`` of a Model artifact, whose files are complete."""
    model.set_string_custom_property(MODEL_DIGEST, _digest(model.uri))


def check_files(model: Any) -> None:
    """Raises ``InputError`` unless a Model artifact has the files that its node wrote.

    It must be called before anything of the model is loaded, as loading runs what is in the files.
    """
    recorded = model.get_string_custom_property(MODEL_DIGEST)
    if recorded != _digest(model.uri):
        why = "are not those that its trainer wrote" if recorded else "have no digest of a trainer"
        raise InputError(
            f"The files of the model in {model.uri} {why}, so it is not loaded; find out who "
            "writes there, and train the model again."
        )


def _digest(model_dir: str) -> str:
    """One digest of all files but hidden ones, which runners add and nothing loads."""
    found = digests(model_dir)
    files = {name: digest for name, digest in found.items() if not name.startswith(".")}
    return short_digest(json.dumps(files, sort_keys=True).encode())


def short_digest(content: bytes) -> str:
    """The first 128 bits of SHA-256 as 22 characters: nobody finds other content with the same."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()[:16]).decode().rstrip("=")


@contextlib.contextmanager
def unchanged(model_dir: str | Path) -> Iterator[str]:
    """Yields the digests of the SavedModel's files as JSON: the property ``MODEL_FILES``.

    Raises:
        InputError: A file has changed by the end of the block, so nothing is known of the model.
    """
    before = digests(model_dir)
    yield json.dumps(before)
    if what := difference(before, digests(model_dir)):
        raise InputError(
            f"The model in {model_dir} changed while it was judged: {what}; run it again when "
            "nothing writes there."
        )


def read_stage(title: str, model_dir: str) -> Stage:
    """Reads history.json, config.json and some of samples/*.png of a Model artifact."""
    root = Path(model_dir)
    grids = sorted((root / SAMPLES_DIR).glob("*.png"))
    if len(grids) > _TRAINING_PICTURES:
        stride = (len(grids) - 1) / (_TRAINING_PICTURES - 1)
        grids = [grids[round(i * stride)] for i in range(_TRAINING_PICTURES)]
    return Stage(
        title=title,
        history=read_json(root / HISTORY_FILE),
        config=read_json(root / CONFIG_FILE),
        pictures=[
            Picture(step_title(grid.stem), "", read_picture(root, f"{SAMPLES_DIR}/{grid.name}"))
            for grid in grids
        ],
    )


def read_stages(base_dir: str | None, model_dir: str | None) -> list[Stage]:
    """Reads the trainings of a model in order: its base's, if it was fine-tuned, and its own."""
    stages = [read_stage("Training", base_dir)] if base_dir else []
    if model_dir:
        stages.append(read_stage("Fine-tuning" if base_dir else "Training", model_dir))
    return stages


def read_evaluation(evaluation_dir: str) -> tuple[Mapping[str, Any] | None, list[Picture]]:
    """Reads metrics.json of an evaluation, and its plots in the order given there.

    Raises:
        InputError: A plot's name leads elsewhere, or it is no PNG.
    """
    root = Path(evaluation_dir)
    metrics = read_json(root / METRICS_FILE)
    pictures = []
    for image in (metrics or {}).get("images", []):
        file = image["file"]
        if file != MAP_SPRITE:  # thumbnails of the map, not a plot
            title, caption = image.get("title", ""), image.get("caption", "")
            topic, chart = image.get("topic", ""), image.get("chart") is True
            pictures.append(Picture(title, caption, read_picture(root, file), file, topic, chart))
    return metrics, pictures


def key_pictures(pictures: Sequence[Picture]) -> list[Picture]:
    """The first plot, and after a flat strip the next one that is not a strip."""
    first = list(pictures[:1])
    if first and first[0].is_strip:
        first += [picture for picture in pictures if picture.png and not picture.is_strip][:1]
    return first


def step_title(stem: str) -> str:
    """What a picture of a training shows, by the name of its file: ``epoch 3``."""
    words, _, digits = stem.rpartition("_")
    return f"{words} {int(digits):,}" if digits.isdecimal() else stem.replace("_", " ")
