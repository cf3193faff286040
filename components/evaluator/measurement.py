"""Runs the parts of an evaluation for candidate and champion, and judges the gates.

Contract: a part measures one aspect of one model and returns rows, plots and tables. The champion
is measured only by parts whose gates compare with it, on the same images and seeds. A metric that
cannot be measured is missing, with its reason, and fails its gate.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.evaluator.catalogue import Metric, catalogue
from components.evaluator.config import EvaluatorConfig, Gate
from components.evaluator.gates import check_gate, failed_threshold
from components.evaluator.metrics.bootstrap import interval, mean_replicates
from components.evaluator.references import References
from components.evaluator.results import Champion, Evaluation, MetricResult, Plot, Table
from components.evaluator.saved_model import LoadedModel, NotFinite, NotRun
from core.config import InputError

LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Row:
    """One metric of one model, as a part has measured it."""

    metric: str  # its name in the catalogue
    value: float | None
    reference: float | None = None  # real against real, or what the simple method reaches
    # Bootstrap replicates [B] on the same resampled images for candidate and champion, so that
    # their difference is paired.
    replicates: np.ndarray | None = dataclasses.field(default=None, repr=False)
    missing: str = ""  # why ``value`` is None


@dataclasses.dataclass(frozen=True)
class Measured:
    """Result of one part; a part that measures nothing raises ``NotRun`` or ``NotFinite``."""

    rows: Sequence[Row] = ()
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    documents: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # as in Evaluation


@dataclasses.dataclass(frozen=True)
class Part:
    """One measurement; ``draw`` requests plots and tables, which the champion does not need.

    ``measure(model, references, stage, draw)``: ``stage`` is for progress reports.
    """

    name: str
    topic: str  # section of the report: a key of components.report.topics.TITLES
    metrics: Sequence[Metric]
    measure: Callable[[LoadedModel, References, str, bool], Measured]


def run_parts(
    parts: Sequence[Part],
    model: LoadedModel,
    references: References,
    config: EvaluatorConfig,
    champion: LoadedModel | None,
) -> Evaluation:
    """Measures ``model``, and ``champion`` where gates compare with it; judges every gate.

    Raises:
        InputError: A model lacks a signature.
    """
    started = time.monotonic()
    known = catalogue(model.name, config.noise_levels)
    found, notes = _measure(parts, model, references, draw=True)
    rival: dict[str, Row] = {}
    asked = config.gates_of(model.name)
    if champion is not None and any(gate.retrain_spread is not None for gate in asked):
        # All gates, as none compares with a champion that fails one of them.
        gated = {gate.metric for gate in asked}
        needed = [part for part in parts if any(m.name in gated for m in part.metrics)]
        rival = _measure_champion(needed, champion, references)
    mine = {row.metric: row for each in found for row in each.rows}
    topics = {metric.name: part.topic for part in parts for metric in part.metrics}
    figures = {
        name: _result(metric, topics.get(name, ""), mine.get(name), rival.get(name))
        for name, metric in known.items()
    }
    champion_fails = _champion_fails(asked, known, rival)
    gates = [
        check_gate(
            gate,
            known[gate.metric].title,
            figures[gate.metric].value,
            figures[gate.metric].champion,
            interval=figures[gate.metric].interval,
            difference_interval=_difference_interval(mine.get(gate.metric), rival.get(gate.metric)),
            why_missing=figures[gate.metric].missing,
            has_champion=champion is not None,
            champion_fails=champion_fails,
        )
        for gate in asked
    ]
    for gate in gates:
        LOGGER.info("%s: %s", model.name, gate.sentence)
    return Evaluation(
        model=model.name,
        seed=config.seed,
        samples=_samples(model, references),
        seconds=time.monotonic() - started,
        figures=list(figures.values()),
        gates=gates,
        plots=[plot for each in found for plot in each.plots],
        tables=[table for each in found for table in each.tables],
        documents={name: one for each in found for name, one in each.documents.items()},
        champion=_champion(champion),
        notes=[f"{part}: {why}." for part, why in notes.items()],
    )


def mean_row(
    metric: str, values: np.ndarray, config: EvaluatorConfig, reference: float | np.ndarray
) -> Row:
    """A row whose value is the mean of ``values`` [N], one per image, with replicates.

    ``reference`` is a number, or one per image.
    """
    return Row(
        metric,
        float(np.mean(values)),
        float(np.mean(reference)),
        mean_replicates(values, config.bootstrap_replicates, config.seed),
    )


def _measure(
    parts: Sequence[Part], model: LoadedModel, references: References, draw: bool
) -> tuple[list[Measured], dict[str, str]]:
    """Results of the parts that could be measured, and why the others could not."""
    found, notes = [], {}
    for part in parts:
        started = time.monotonic()
        stage = f"evaluate {model.name}: {part.name}" + ("" if draw else " of champion")
        try:
            found.append(_with_topic(part.measure(model, references, stage, draw), part.topic))
        except NotRun as error:
            found.append(_nothing(part, error))
            LOGGER.info("%s: %s", stage, error)
        except NotFinite as error:
            found.append(_nothing(part, error))
            notes[part.name] = str(error)
            LOGGER.warning("%s could not be measured: %s", stage, error)
        LOGGER.info("%s took %.1f s", stage, time.monotonic() - started)
    return found, notes


def _with_topic(found: Measured, topic: str) -> Measured:
    return dataclasses.replace(
        found,
        plots=[dataclasses.replace(plot, topic=topic) for plot in found.plots],
        tables=[dataclasses.replace(table, topic=topic) for table in found.tables],
    )


def _nothing(part: Part, why: Exception) -> Measured:
    return Measured([Row(metric.name, None, missing=str(why)) for metric in part.metrics])


def _measure_champion(
    parts: Sequence[Part], champion: LoadedModel, references: References
) -> dict[str, Row]:
    """Rows by metric; metrics left out on purpose have none."""
    try:
        found, notes = _measure(parts, champion, references, draw=False)
    except InputError as error:
        raise champion_error(error) from error
    return {
        row.metric: row
        for part, each in zip(parts, found, strict=True)
        for row in each.rows
        if row.value is not None or part.name in notes
    }


def champion_error(error: InputError) -> InputError:
    """The error for a champion that cannot be measured; it must not be skipped silently."""
    return InputError(
        f"The champion cannot be evaluated: {error} Restore that version, or remove it from "
        "the serving directory."
    )


def _champion_fails(
    gates: Sequence[Gate], known: Mapping[str, Metric], rival: Mapping[str, Row]
) -> str:
    """The first gate that the champion's own value fails, in words; empty if it fails none."""
    for gate in gates:
        row = rival.get(gate.metric)
        if row and (
            words := failed_threshold(gate, known[gate.metric].title, row.value, row.missing)
        ):
            return words
    return ""


def _result(metric: Metric, topic: str, mine: Row | None, rival: Row | None) -> MetricResult:
    mine = mine or Row(metric.name, None)
    return MetricResult(
        name=metric.name,
        title=metric.title,
        value=mine.value,
        better=metric.better,
        description=metric.description,
        floor=mine.reference,
        floor_title=metric.floor_title,
        champion=rival.value if rival else None,
        interval=_interval(mine.value, mine.replicates),
        missing=mine.missing,
        topic=topic,
    )


def _difference_interval(mine: Row | None, rival: Row | None) -> tuple[float, float] | None:
    """95 % interval of candidate minus champion, resampled in pairs; None without replicates."""
    if mine is None or rival is None or mine.value is None or rival.value is None:
        return None
    if mine.replicates is None or rival.replicates is None:
        return None
    return _interval(mine.value - rival.value, mine.replicates - rival.replicates)


def _interval(value: float | None, replicates: np.ndarray | None) -> tuple[float, float] | None:
    if value is None or replicates is None or not np.isfinite(replicates).all():
        return None
    return interval(value, replicates)


def _samples(model: LoadedModel, references: References) -> int:
    """Number of images behind the primary metrics: generated ones, or all test images."""
    return references.samples if references.generates(model) else len(references.data.test_images)


def _champion(model: LoadedModel | None) -> Champion | None:
    return Champion(Path(model.path).name, model.path) if model else None
