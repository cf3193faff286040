"""Metrics, plots and tables of an evaluation, grouped and ordered by topic.

Contract: ``by_topic`` assigns every item exactly once, by the topic from the evaluator; items
without one, as in evaluations of earlier versions, come last under "Other measurements". A metric
is shown at first if a gate uses it or its topic has few metrics.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from components.report.data import EmbeddingMap, ModelReport
from core.artifacts import Picture

_FIRST = 3  # metrics of a topic that are shown without a click

# In the order of a reader's questions: the output, its quality, and what the model has learned.
TITLES = {
    "samples": "Generated images",
    "process": "Forward and reverse process",
    "reconstruction": "Reconstruction",
    "denoising": "Denoising",
    "clusters": "K-Means clusters",
    "map": "Map of the code (t-SNE)",
    "latent": "Between two digits",
    "memory": "Memorisation",
    "anomalies": "Anomaly detection",
    "discriminator": "Discriminator",
    "judge": "Judge",
    "drift": "New data through the served model",
    "other": "Other measurements",
}


@dataclasses.dataclass(frozen=True)
class Topic:
    """One topic of an evaluation."""

    key: str
    title: str
    figures: Sequence[Mapping[str, Any]] = ()
    more_figures: Sequence[Mapping[str, Any]] = ()  # shown after a click
    pictures: Sequence[Picture] = ()
    tables: Sequence[Mapping[str, Any]] = ()
    map: EmbeddingMap | None = None


def by_topic(model: ModelReport) -> list[Topic]:
    """Groups metrics, plots, tables and map of ``model`` by topic."""
    evaluation = model.evaluation or {}
    gated = {gate.get("metric") for gate in evaluation.get("gates") or []}
    topics = []
    for key, title in TITLES.items():
        figures, tables = (
            [each for each in evaluation.get(kind) or [] if _known(each.get("topic")) == key]
            for kind in ("figures", "tables")
        )
        first = [
            figure
            for i, figure in enumerate(figures)
            if figure.get("name") in gated or (i < _FIRST and figure.get("value") is not None)
        ]
        topic = Topic(
            key=key,
            title=title,
            figures=first,
            more_figures=[figure for figure in figures if figure not in first],
            pictures=[picture for picture in model.pictures if _known(picture.topic) == key],
            tables=tables,
            map=model.map if key == "map" else None,
        )
        if topic.figures or topic.more_figures or topic.pictures or topic.tables or topic.map:
            topics.append(topic)
    return topics


def _known(topic: str | None) -> str:
    return topic if topic in TITLES else "other"
