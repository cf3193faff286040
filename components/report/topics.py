"""Which figures, pictures and tables of an evaluation belong together, and in which order.

Contract: ``by_topic`` deals everything out exactly once; what no topic claims comes last under
"Other measurements". The order is that of a reader's questions: what does the model make, how well,
and what does it know. A figure is first hand if a gate asks for it or its topic has few of them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from components.report.data import EmbeddingMap, ModelReport
from core.artifacts import Picture

_FIRST = 3  # figures of a topic that are shown without a click

# Key, title, and what the metric's name, the picture's file or the table's title looks like.
_TOPICS = (
    ("memory", "Memorisation", r"memori|copies|copied|closest|nearest of .* train"),
    ("process", "Forward and reverse process", r"reverse|forward|film|process|trajector|steps"),
    (
        "samples",
        "Generated images",
        r"^(samples|generat|frechet|fi?d_|fi?d\b|kid|kernel|inception|class|missing_modes"
        r"|precision|recall|density|coverage|nearest|classifier|two.sample"
        r"|synthetic|augmented|train on|realism|a network on a few labelled)",
    ),
    ("reconstruction", "Reconstruction", r"^(reconstruct|mse_|pca)"),
    ("denoising", "Denoising", r"denois|^noise"),
    ("clusters", "K-Means clusters", r"cluster|k-?means"),
    ("map", "Map of the code (t-SNE)", r"t-?sne|^map"),
    ("latent", "Between two digits", r"latent|interpol|walk|travers"),
    ("anomalies", "Anomaly detection", r"anomal|one.class|corrupt|out.of"),
    ("discriminator", "Discriminator", r"discriminat|critic|balance"),
    ("judge", "Judge", r"^judge"),
)
_ORDER = (
    *("samples", "process", "reconstruction", "denoising", "clusters", "map", "latent"),
    *("memory", "anomalies", "discriminator", "judge", "other"),
)
_TITLES = {key: title for key, title, _ in _TOPICS} | {"other": "Other measurements"}


@dataclasses.dataclass(frozen=True)
class Topic:
    """What an evaluation says on one subject."""

    key: str
    title: str
    figures: Sequence[Mapping[str, Any]] = ()
    more_figures: Sequence[Mapping[str, Any]] = ()  # second hand: behind a click
    pictures: Sequence[Picture] = ()
    tables: Sequence[Mapping[str, Any]] = ()
    map: EmbeddingMap | None = None


def by_topic(model: ModelReport) -> list[Topic]:
    """Deals figures, pictures, tables and map of ``model`` out to the topics they belong to."""
    evaluation = model.evaluation or {}
    gated = {gate.get("metric") for gate in evaluation.get("gates") or []}
    topics = []
    for key in _ORDER:
        figures = [f for f in evaluation.get("figures") or [] if topic_of(f.get("name")) == key]
        first = [
            figure
            for i, figure in enumerate(figures)
            if figure.get("name") in gated or (i < _FIRST and figure.get("value") is not None)
        ]
        topic = Topic(
            key=key,
            title=_TITLES[key],
            figures=first,
            more_figures=[figure for figure in figures if figure not in first],
            pictures=[p for p in model.pictures if topic_of(PurePosixPath(p.file).stem) == key],
            tables=[t for t in evaluation.get("tables") or [] if topic_of(t.get("title")) == key],
            map=model.map if key == "map" else None,
        )
        if topic.figures or topic.more_figures or topic.pictures or topic.tables or topic.map:
            topics.append(topic)
    return topics


def topic_of(words: str | None) -> str:
    """Key of the topic that a metric's name, a picture's file stem or a table's title is of."""
    for key, _, pattern in _TOPICS:
        if re.search(pattern, (words or "").lower()):
            return key
    return "other"
