"""Statistics of the data as written by StatisticsGen, read without TFX.

Contract: ``read_statistics`` turns FeatureStats.pb of each split into plain data; a missing split
is left out.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SPLITS = ("train", "eval", "test")
LABEL, LABEL_NAME = "label", "label_name"


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

    @property
    def label_shares(self) -> Mapping[str, float]:
        """Percent of the images with each label, by name where the classes have names.

        Empty where labels were not counted.
        """
        counts = {column.name: column.counts for column in self.columns if column.counts}
        found = counts.get(LABEL_NAME) or counts.get(LABEL) or {}
        total = sum(found.values())
        return {label: 100 * count / total for label, count in found.items()}


def read_statistics(statistics_dir: str, splits: Sequence[str] = SPLITS) -> list[SplitStatistics]:
    """Reads the statistics of numeric columns and categories of every existing split."""
    found = []
    for split, lists in load_statistics(statistics_dir, splits).items():
        dataset = lists.datasets[0]
        columns = [_column(f) for f in dataset.features if f.HasField("num_stats")]
        columns += [_category(f) for f in dataset.features if _is_category(f)]
        found.append(SplitStatistics(split, int(dataset.num_examples), columns))
    return found


def load_statistics(statistics_dir: str, splits: Sequence[str] = SPLITS) -> dict[str, Any]:
    """The DatasetFeatureStatisticsList of every existing split, by split."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    paths = {split: Path(statistics_dir) / f"Split-{split}" / "FeatureStats.pb" for split in splits}
    return {
        split: statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
        for split, path in paths.items()
        if path.is_file()
    }


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
    missing = int(stats.common_stats.num_missing)
    return ColumnStatistics(_name(feature), *[math.nan] * 5, missing=missing, counts=counts)
