"""The content of the report, read from the artifacts of a run.

Contract: ``ReportData`` is plain data; ``read_*`` functions turn artifact directories into it
without TFX. Content that an artifact lacks is None or empty and is shown as missing.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.artifacts import (
    MAP_FILE,
    MAP_SPRITE,
    METRICS_FILE,
    Picture,
    Stage,
    read_bytes,
    read_json,
    read_picture,
)
from core.comparison import Change, Metric, differing, flatten, measured
from core.origin import public
from core.statistics import SplitStatistics
from serving.versions import CARD_HTML, CARD_MARKDOWN, LINEAGE_FILE, extra_file, read_lineage

_ORDER = ("worse", "better", "unclear", "")  # of changes


@dataclasses.dataclass(frozen=True)
class EmbeddingMap:
    """A map of the code: ``sprite`` holds the image of each point, 64 thumbnails in a row."""

    points: Sequence[Sequence[float]]  # [N, 2]
    labels: Sequence[str]  # [N]
    sprite: bytes | None = None  # PNG


@dataclasses.dataclass(frozen=True)
class Push:
    """Whether and where a model was pushed; the other files are next to the pushed model."""

    pushed: bool
    destination: str = ""
    version: str = ""
    lineage: Mapping[str, Any] | None = None
    card_markdown: str = ""
    card_html: str = ""
    card_address: str = ""  # of the HTML card, relative to the page
    reason: str = ""  # why it was not pushed


@dataclasses.dataclass(frozen=True)
class Since:
    """What changed since the version that clients got when the model was evaluated.

    Each pair is that of the version then and of this run; None where it is not recorded.
    """

    version: str
    settings: Mapping[str, tuple[Any, Any]] | None = None  # of the trainings, by dotted key
    data: Mapping[str, tuple[Any, Any]] | None = None
    code: Mapping[str, tuple[Any, Any]] | None = None  # commit, and versions of packages
    changes: Sequence[Change] = ()  # of the gated metrics, the worse ones first
    metrics: Mapping[str, Metric] = dataclasses.field(default_factory=dict)  # of the version


@dataclasses.dataclass(frozen=True)
class ModelReport:
    """Everything about one model; None marks steps that did not run."""

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
    since: Since | None = None  # None where no version was in serving


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


def read_map(evaluation_dir: str) -> EmbeddingMap | None:
    """Reads the points of the map of an evaluation and their thumbnails; None without points."""
    root = Path(evaluation_dir)
    found = read_json(root / MAP_FILE)
    if not found or not found.get("points"):
        return None
    labels = [str(label) for label in found.get("labels") or []]
    return EmbeddingMap(found["points"], labels, read_picture(root, MAP_SPRITE))


def read_since(name: str, metrics: Mapping[str, Any], sources: Mapping[str, Any]) -> Since | None:
    """Compares this run with the champion of an evaluation, by what was pushed with the champion.

    Args:
        name: Of the model.
        metrics: metrics.json of this run.
        sources: What the model was made from, as ``core.origin.sources`` has it.
    """
    champion = metrics.get("champion")
    if not champion:
        return None
    place = Path(champion["path"])
    lineage = read_lineage(place)

    parts = zip(_parts(lineage), _parts(sources), strict=True)
    settings, data, code = (differing(*pair) if all(pair) else None for pair in parts)
    before, now = measured(read_json(extra_file(place, METRICS_FILE))), measured(metrics)
    gated = dict.fromkeys(gate["metric"] for gate in metrics.get("gates") or [])
    pairs = [(before.get(metric), now.get(metric)) for metric in gated]
    changes = [Change(name, pair) for pair in pairs if before and any(pair)]
    return Since(
        version=str(champion["version"]),
        settings=settings,
        data=data,
        code=code,
        changes=sorted(changes, key=lambda change: _ORDER.index(change.verdict)),
        metrics=before,
    )


def _parts(sources: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Settings, data and code by dotted key; empty where they are not recorded."""
    settings, data, commit, packages = map(sources.get, ("settings", "data", "commit", "packages"))
    return (
        flatten(settings) if settings else {},
        flatten(data, "data") if data else {},
        ({"commit": commit} if commit else {}) | (packages or {}),
    )


def read_push(destination: str, version: str, page_dir: str) -> Push:
    """Reads lineage and model card of a pushed version.

    Args:
        destination: Directory of the version.
        version: Its number.
        page_dir: Directory of the page, from which the card is linked.
    """
    version_dir = Path(destination)
    card = extra_file(version_dir, CARD_HTML)
    return Push(
        pushed=True,
        destination=public(destination),
        version=version,
        lineage=read_json(extra_file(version_dir, LINEAGE_FILE)),
        card_markdown=(read_bytes(extra_file(version_dir, CARD_MARKDOWN)) or b"").decode(),
        card_html=(read_bytes(card) or b"").decode(),
        card_address=Path(os.path.relpath(card, page_dir)).as_posix() if card.is_file() else "",
    )
