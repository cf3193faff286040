"""Runs the parts of an evaluation for candidate and champion, and judges the gates.

Contract: a part measures one aspect of one model and returns rows, plots and tables. Other
versions, the standards, are measured only by parts whose gates compare with them, on the same
images and seeds. A metric that cannot be measured is missing, with its reason, and fails its gate.
"""

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.evaluator.catalogue import REFERENCES, Metric, catalogue
from components.evaluator.config import EvaluatorConfig, Gate
from components.evaluator.gates import (
    Measurement,
    Rival,
    check_gate,
    failed_threshold,
    improvement,
)
from components.evaluator.metrics.bootstrap import interval, mean_replicates
from components.evaluator.references import References
from components.evaluator.results import (
    Champion,
    Evaluation,
    GateResult,
    MetricResult,
    Plot,
    Table,
)
from components.evaluator.saved_model import LoadedModel, NotFinite, NotRun
from core.config import InputError
from core.models import MODELS

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
    notes: Sequence[str] = ()  # warnings, in sentences


@dataclasses.dataclass(frozen=True)
class Part:
    """One measurement; ``draw`` requests plots and tables, which the champion does not need.

    ``measure(model, references, stage, draw)``: ``stage`` is for progress reports.
    """

    name: str
    topic: str  # section of the report: a key of components.report.topics.TITLES
    metrics: Sequence[Metric]
    measure: Callable[[LoadedModel, References, str, bool], Measured]
    # The same of the champion itself, for the report: no metric, and no gate depends on it.
    of_champion: Callable[[LoadedModel, References, str, bool], Measured] | None = None


@dataclasses.dataclass(frozen=True)
class Standard:
    """A version that the candidate is compared with."""

    words: str  # the champion, or the best version so far
    model: LoadedModel
    unfit: str = ""  # why it is none, whatever its values, in words


def run_parts(
    parts: Sequence[Part],
    model: LoadedModel,
    references: References,
    config: EvaluatorConfig,
    standards: Sequence[Standard] = (),
) -> Evaluation:
    """Measures ``model``, and the ``standards`` where gates compare; judges every gate.

    The first of the standards is the champion.

    Raises:
        InputError: A model lacks a signature.
    """
    started = time.monotonic()
    known = catalogue(model.name, config.noise_levels)
    found, notes = _measure(parts, model, references, draw=True)
    asked = config.gates_of(model.name)
    rivals: list[dict[str, Row]] = [{} for _ in standards]
    if any(gate.retrain_spread is not None for gate in asked):
        # All gates, as none compares with a version that fails one of them.
        gated = {gate.metric for gate in asked}
        needed = [part for part in parts if any(m.name in gated for m in part.metrics)]
        rivals = [_measure_standard(needed, standard, references) for standard in standards]
    if standards:
        more, unmeasured = _measure_champion(parts, standards[0], references)
        found, notes = found + more, notes | unmeasured
    mine = {row.metric: row for each in found for row in each.rows}
    topics = {metric.name: part.topic for part in parts for metric in part.metrics}
    champion = rivals[0] if rivals else {}
    gates = _check_gates(model.name, asked, known, mine, list(zip(standards, rivals, strict=True)))
    for gate in gates:
        LOGGER.info("%s: %s", model.name, gate.sentence)
    return Evaluation(
        model=model.name,
        seed=config.seed,
        samples=_samples(model, references),
        seconds=time.monotonic() - started,
        figures=[
            _result(metric, topics.get(name, ""), mine.get(name), champion.get(name))
            for name, metric in known.items()
        ],
        gates=gates,
        plots=[plot for each in found for plot in each.plots],
        tables=[table for each in found for table in each.tables],
        documents={name: one for each in found for name, one in each.documents.items()},
        champion=_version(standards, 0),
        best=_version(standards, 1),
        primary=MODELS[model.name].primary,
        quality_gates=config.quality_gates,
        notes=[
            *(f"{part}: {why}." for part, why in notes.items()),
            *(note for each in found for note in each.notes),
        ],
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


def _measure_standard(
    parts: Sequence[Part], standard: Standard, references: References
) -> dict[str, Row]:
    """Rows by metric; metrics left out on purpose have none."""
    try:
        found, notes = _measure(parts, standard.model, references, draw=False)
    except InputError as error:
        raise champion_error(error) from error
    return {
        row.metric: row
        for part, each in zip(parts, found, strict=True)
        for row in each.rows
        if row.value is not None or part.name in notes
    }


def _measure_champion(
    parts: Sequence[Part], champion: Standard, references: References
) -> tuple[list[Measured], dict[str, str]]:
    """What the report shows of the champion itself; as ``_measure``."""
    shown = [dataclasses.replace(p, measure=p.of_champion) for p in parts if p.of_champion]
    try:
        return _measure(shown, champion.model, references, draw=False)
    except InputError as error:
        raise champion_error(error) from error


def champion_error(error: InputError) -> InputError:
    """The error for a champion that cannot be measured; it must not be skipped silently."""
    return InputError(
        f"The champion cannot be evaluated: {error} Restore that version, or remove it from "
        "the serving directory."
    )


def _check_gates(
    model: str,
    gates: Sequence[Gate],
    known: Mapping[str, Metric],
    mine: Mapping[str, Row],
    standards: Sequence[tuple[Standard, Mapping[str, Row]]],
) -> list[GateResult]:
    """The verdicts, compared with the rows of the standards; the primary metric decides first."""
    unfit = [standard.unfit or _failed_gate(gates, known, rows) for standard, rows in standards]

    def rivals(gate: Gate, beaten: Sequence[str] = ("",) * len(standards)) -> list[Rival]:
        own = mine.get(gate.metric)
        found = []
        for (standard, rows), why, how in zip(standards, unfit, beaten, strict=True):
            row = rows.get(gate.metric)
            difference = _difference_interval(own, row)
            found.append(Rival(standard.words, row.value if row else None, difference, why, how))
        return found

    def check(gate: Gate, beaten: Sequence[str]) -> GateResult:
        row = mine.get(gate.metric) or Row(gate.metric, None)
        return check_gate(gate, known[gate.metric], _measurement(row), rivals(gate, beaten))

    beaten = [""] * len(standards)
    for gate in gates:
        if gate.metric == MODELS[model].primary and gate.metric in mine:
            value, metric = mine[gate.metric].value, known[gate.metric]
            beaten = [improvement(gate, metric, value, rival) for rival in rivals(gate)]
    return [check(gate, beaten) for gate in gates]


def _failed_gate(
    gates: Sequence[Gate], known: Mapping[str, Metric], rows: Mapping[str, Row]
) -> str:
    """The first gate that these values fail, in words; empty if they fail none."""
    for gate in gates:
        row = rows.get(gate.metric)
        words = row and failed_threshold(gate, known[gate.metric], _measurement(row))
        if words:
            return f"it fails a gate itself ({words})"
    return ""


def _measurement(row: Row) -> Measurement:
    return Measurement(row.value, row.reference, _interval(row.value, row.replicates), row.missing)


def _result(metric: Metric, topic: str, mine: Row | None, rival: Row | None) -> MetricResult:
    mine = mine or Row(metric.name, None)
    return MetricResult(
        name=metric.name,
        title=metric.title,
        value=mine.value,
        better=metric.better,
        description=metric.description,
        floor=mine.reference,
        floor_title=REFERENCES.get(metric.reference, ""),
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


def _version(standards: Sequence[Standard], place: int) -> Champion | None:
    """The champion is at place 0, another best version at place 1."""
    paths = [standard.model.path for standard in standards[place : place + 1]]
    return Champion(Path(paths[0]).name, paths[0]) if paths else None
