"""What the report shows, and how it is read from the artifacts of a run.

Contract: ``ReportData`` is plain data; ``read_*`` functions turn artifact directories into it
without TFX. Whatever an artifact lacks is None or empty and is shown as missing: a report of a
run that went wrong is the one that is needed most.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.report.statistics import SplitStatistics

MAP_FILE = "tsne.json"
MAP_SPRITE = "figures/tsne_sprite.png"
_STRIP = 2.2  # times as wide as high
_TRAINING_PICTURES = 4  # sample grids shown per training, spread evenly over its steps


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG with its words; ``png`` is None where the file is missing."""

    title: str
    caption: str
    png: bytes | None
    file: str = ""  # relative to metrics.json

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, from the file's header; zeros where the file is missing."""
        header = (self.png or b"").ljust(24, b"\0")
        return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")

    @property
    def is_strip(self) -> bool:
        """Whether it is so flat that it takes the whole width."""
        width, height = self.size
        return width >= _STRIP * height > 0


@dataclasses.dataclass(frozen=True)
class EmbeddingMap:
    """A map of the code: ``sprite`` holds the image of each point, 64 thumbnails in a row."""

    points: Sequence[Sequence[float]]  # [N, 2]
    labels: Sequence[str]  # [N]
    sprite: bytes | None = None  # PNG


@dataclasses.dataclass(frozen=True)
class Stage:
    """One training of one model: history.json and config.json of its Model artifact."""

    title: str
    history: Mapping[str, Any] | None
    config: Mapping[str, Any] | None
    pictures: Sequence[Picture] = ()


@dataclasses.dataclass(frozen=True)
class Push:
    """Whether and where a model was pushed; the other files lie beside the pushed model."""

    pushed: bool
    destination: str = ""
    version: str = ""
    lineage: Mapping[str, Any] | None = None
    card_markdown: str = ""
    card_html: str = ""
    card_address: str = ""  # of the HTML card, as seen from the page


@dataclasses.dataclass(frozen=True)
class ModelReport:
    """Everything about one model; None marks what the run did not get to."""

    name: str
    title: str
    stages: Sequence[Stage] = ()
    evaluation: Mapping[str, Any] | None = None
    pictures: Sequence[Picture] = ()
    map: EmbeddingMap | None = None
    blessed: bool | None = None
    reason: str = ""
    serving_check: Mapping[str, Any] | None = None
    push: Push | None = None


@dataclasses.dataclass(frozen=True)
class Link:
    """One artifact that the report was made from."""

    name: str
    type: str
    uri: str


@dataclasses.dataclass(frozen=True)
class ReportData:
    """The whole page."""

    run_id: str
    created: str
    models: Sequence[ModelReport]
    judge: Stage | None = None
    splits: Sequence[SplitStatistics] = ()
    findings: Mapping[str, Any] | None = None
    links: Sequence[Link] = ()
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def read_json(path: Path) -> Any | None:
    """Content of the JSON file, None if there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def read_stage(title: str, model_dir: str) -> Stage:
    """Reads history.json, config.json and some of samples/*.png of a Model artifact."""
    root = Path(model_dir)
    grids = sorted((root / "samples").glob("*.png"))
    if len(grids) > _TRAINING_PICTURES:
        stride = (len(grids) - 1) / (_TRAINING_PICTURES - 1)
        grids = [grids[round(i * stride)] for i in range(_TRAINING_PICTURES)]
    return Stage(
        title=title,
        history=read_json(root / "history.json"),
        config=read_json(root / "config.json"),
        pictures=[Picture(_step_title(g.stem), "", g.read_bytes()) for g in grids],
    )


def read_stages(base_dir: str | None, model_dir: str | None) -> list[Stage]:
    """Reads the trainings of a model in order: its base's, if it was fine-tuned, and its own."""
    stages = [read_stage("Training", base_dir)] if base_dir else []
    if model_dir:
        stages.append(read_stage("Fine-tuning" if base_dir else "Training", model_dir))
    return stages


def read_evaluation(evaluation_dir: str) -> tuple[Mapping[str, Any] | None, list[Picture]]:
    """Reads metrics.json of an evaluation, and its pictures in the order given there."""
    root = Path(evaluation_dir)
    metrics = read_json(root / "metrics.json")
    pictures = []
    for image in (metrics or {}).get("images", []):
        file = image["file"]
        if file != MAP_SPRITE:  # thumbnails of the map, no picture to look at
            title, caption = image.get("title", ""), image.get("caption", "")
            pictures.append(Picture(title, caption, _read_bytes(root / file), file))
    return metrics, pictures


def key_pictures(pictures: Sequence[Picture]) -> list[Picture]:
    """The first picture, and with a flat strip the next one that is no strip."""
    first = list(pictures[:1])
    if first and first[0].is_strip:
        first += [picture for picture in pictures if picture.png and not picture.is_strip][:1]
    return first


def read_map(evaluation_dir: str) -> EmbeddingMap | None:
    """Reads the points of the map of an evaluation and their thumbnails; None without points."""
    root = Path(evaluation_dir)
    found = read_json(root / MAP_FILE)
    if not found or not found.get("points"):
        return None
    labels = [str(label) for label in found.get("labels") or []]
    return EmbeddingMap(found["points"], labels, _read_bytes(root / MAP_SPRITE))


def read_push(destination: str, version: str, page_dir: str) -> Push:
    """Reads lineage and model card of a pushed version.

    Args:
        destination: Directory of the version.
        version: Its number.
        page_dir: Directory of the page, from which the card is linked.
    """
    extra = Path(destination) / "assets.extra"
    card = extra / "model_card.html"
    return Push(
        pushed=True,
        destination=destination,
        version=version,
        lineage=read_json(extra / "lineage.json"),
        card_markdown=(_read_bytes(extra / "model_card.md") or b"").decode(),
        card_html=(_read_bytes(card) or b"").decode(),
        card_address=Path(os.path.relpath(card, page_dir)).as_posix() if card.is_file() else "",
    )


def _read_bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _step_title(stem: str) -> str:
    words, _, digits = stem.rpartition("_")
    return f"{words} {int(digits):,}" if digits.isdecimal() else stem.replace("_", " ")
