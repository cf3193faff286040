"""What the report shows, and how it is read from the artifacts of a run.

Contract: ``ReportData`` is plain data; ``read_*`` functions turn artifact directories into it
without TFX. Whatever an artifact lacks is None or empty and is shown as missing: a report of a
run that went wrong is the one that is needed most.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_TRAINING_PICTURES = 4  # sample grids shown per training, spread evenly over its steps


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG with its words; ``png`` is None where the file is missing."""

    title: str
    caption: str
    png: bytes | None


@dataclasses.dataclass(frozen=True)
class Stage:
    """One training of one model: history.json and config.json of its Model artifact."""

    title: str
    history: Mapping[str, Any] | None
    config: Mapping[str, Any] | None
    pictures: Sequence[Picture] = ()


@dataclasses.dataclass(frozen=True)
class Push:
    """Whether and where a model was pushed; ``lineage`` is the file beside the pushed model."""

    pushed: bool
    destination: str = ""
    version: str = ""
    lineage: Mapping[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class ModelReport:
    """Everything about one model; None marks what the run did not get to."""

    name: str
    title: str
    stages: Sequence[Stage] = ()
    evaluation: Mapping[str, Any] | None = None
    pictures: Sequence[Picture] = ()
    blessed: bool | None = None
    reason: str = ""
    serving_check: Mapping[str, Any] | None = None
    push: Push | None = None


@dataclasses.dataclass(frozen=True)
class ColumnStatistics:
    """One column of one split; ``counts`` maps a value to its number, for categories only."""

    name: str
    mean: float
    deviation: float
    low: float
    median: float
    high: float
    missing: int
    counts: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class SplitStatistics:
    """One split of the data."""

    name: str
    examples: int
    columns: Sequence[ColumnStatistics]


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


def read_evaluation(evaluation_dir: str) -> tuple[Mapping[str, Any] | None, list[Picture]]:
    """Reads metrics.json of an evaluation, and its pictures in the order given there."""
    root = Path(evaluation_dir)
    metrics = read_json(root / "metrics.json")
    pictures = []
    for image in (metrics or {}).get("images", []):
        path = root / image["file"]
        png = path.read_bytes() if path.is_file() else None
        pictures.append(Picture(image.get("title", ""), image.get("caption", ""), png))
    return metrics, pictures


def read_lineage(version_dir: str) -> Mapping[str, Any] | None:
    """Reads the lineage file that was pushed with a version."""
    return read_json(Path(version_dir) / "assets.extra" / "lineage.json")


def read_statistics(statistics_dir: str, splits: Sequence[str]) -> list[SplitStatistics]:
    """Reads the statistics of the numeric columns of every split that is there."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    found = []
    for split in splits:
        path = Path(statistics_dir) / f"Split-{split}" / "FeatureStats.pb"
        if path.is_file():
            lists = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
            dataset = lists.datasets[0]
            columns = [_column(f) for f in dataset.features if f.HasField("num_stats")]
            columns += [_category(f) for f in dataset.features if _is_category(f)]
            found.append(SplitStatistics(split, int(dataset.num_examples), columns))
    return found


def _step_title(stem: str) -> str:
    words, _, digits = stem.rpartition("_")
    return f"{words} {int(digits):,}" if digits.isdecimal() else stem.replace("_", " ")


def _name(feature: Any) -> str:
    return feature.name or ".".join(feature.path.step)


def _column(feature: Any) -> ColumnStatistics:
    stats = feature.num_stats
    return ColumnStatistics(
        name=_name(feature),
        mean=stats.mean,
        deviation=stats.std_dev,
        low=stats.min,
        median=stats.median,
        high=stats.max,
        missing=int(stats.common_stats.num_missing),
    )


def _is_category(feature: Any) -> bool:
    return feature.HasField("string_stats") and bool(feature.string_stats.rank_histogram.buckets)


def _category(feature: Any) -> ColumnStatistics:
    stats = feature.string_stats
    counts = {b.label: b.sample_count for b in stats.rank_histogram.buckets}
    if all(label.isdecimal() for label in counts):
        counts = dict(sorted(counts.items(), key=lambda item: int(item[0])))
    return ColumnStatistics(
        name=_name(feature),
        mean=math.nan,
        deviation=math.nan,
        low=math.nan,
        median=math.nan,
        high=math.nan,
        missing=int(stats.common_stats.num_missing),
        counts=counts,
    )
