"""The content of a model card, and the facts that it is made from.

Contract: plain data, without text about any model.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from core.artifacts import Picture, Stage
from core.statistics import SplitStatistics

UNKNOWN = "not known"


@dataclasses.dataclass(frozen=True)
class Facts:
    """The files of a run about one version."""

    model: str
    metrics: Mapping[str, Any]  # metrics.json
    lineage: Mapping[str, Any]  # lineage.json
    stages: Sequence[Stage] = ()  # trainings, in order
    splits: Sequence[SplitStatistics] = ()
    serving_check: Mapping[str, Any] | None = None
    pictures: Sequence[Picture] = ()
    data_dir: str = ""


@dataclasses.dataclass(frozen=True)
class Grid:
    """A table; the first column names the row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""


@dataclasses.dataclass(frozen=True)
class Section:
    """A field of the card: paragraphs (str), lists (tuple of str) and tables."""

    title: str
    blocks: Sequence[str | tuple[str, ...] | Grid]


@dataclasses.dataclass(frozen=True)
class Card:
    """The whole card."""

    header: Mapping[str, Any]  # for model hubs; in the Markdown only
    title: str
    summary: str
    overview: Sequence[str | Grid]  # verdict, date and gated numbers, before the sections
    sections: Sequence[Section]
    pictures: Sequence[Picture] = ()
