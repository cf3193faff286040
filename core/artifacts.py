"""Files that pass between nodes, read without TFX.

Contract: content that an artifact lacks is None or empty, so that a failed run still gets a report.
A verdict carries the digests of the model's files, so that the push can tell whether they are the
ones that were judged.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.config import InputError
from core.files import difference, digests

SAVED_MODEL_DIR = "Format-Serving"  # of a Model artifact; TFX's name
KERAS_DIR = "Format-Keras"  # of a Model artifact: networks to train on from
# Custom property of both verdicts: digests of the files of the SavedModel that was judged, as JSON.
MODEL_FILES = "model_files"
# Custom property of a push: 1 if it was refused as the verdict knows an older champion.
SUPERSEDED = "superseded"
METRICS_FILE = "metrics.json"  # of an evaluation
HISTORY_FILE = "history.json"  # of a training
CONFIG_FILE = "config.json"  # its settings
SAMPLES_DIR = "samples"  # its images
MAP_FILE = "tsne.json"  # points of an evaluation's map
MAP_SPRITE = "figures/tsne_sprite.png"  # their images
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
        pictures=[Picture(_step_title(g.stem), "", g.read_bytes()) for g in grids],
    )


def read_stages(base_dir: str | None, model_dir: str | None) -> list[Stage]:
    """Reads the trainings of a model in order: its base's, if it was fine-tuned, and its own."""
    stages = [read_stage("Training", base_dir)] if base_dir else []
    if model_dir:
        stages.append(read_stage("Fine-tuning" if base_dir else "Training", model_dir))
    return stages


def read_evaluation(evaluation_dir: str) -> tuple[Mapping[str, Any] | None, list[Picture]]:
    """Reads metrics.json of an evaluation, and its plots in the order given there."""
    root = Path(evaluation_dir)
    metrics = read_json(root / METRICS_FILE)
    pictures = []
    for image in (metrics or {}).get("images", []):
        file = image["file"]
        if file != MAP_SPRITE:  # thumbnails of the map, not a plot
            title, caption = image.get("title", ""), image.get("caption", "")
            topic = image.get("topic", "")
            pictures.append(Picture(title, caption, read_bytes(root / file), file, topic))
    return metrics, pictures


def key_pictures(pictures: Sequence[Picture]) -> list[Picture]:
    """The first plot, and after a flat strip the next one that is not a strip."""
    first = list(pictures[:1])
    if first and first[0].is_strip:
        first += [picture for picture in pictures if picture.png and not picture.is_strip][:1]
    return first


def _step_title(stem: str) -> str:
    words, _, digits = stem.rpartition("_")
    return f"{words} {int(digits):,}" if digits.isdecimal() else stem.replace("_", " ")
