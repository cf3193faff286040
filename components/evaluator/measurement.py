"""Runs the parts of an evaluation for candidate and champion, and judges the gates.

Contract: a part measures one thing of one model and returns figures, pictures and tables. The
champion goes only through the parts that gates need, on the same images and seeds, and only where
a gate compares with it.
What a part cannot measure is a missing figure with its reason, and a failed gate.
"""

from __future__ import annotations

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
from components.evaluator.results import Champion, Evaluation, Figure, Picture, Table
from components.evaluator.saved_model import LoadedModel, NotFinite, NotRun
from core.config import InputError

LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What one part has found: figures by name with their floors, pictures and tables."""

    values: Mapping[str, float]
    floors: Mapping[str, float] = dataclasses.field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    documents: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # as in Evaluation
    # Bootstrap replicates [B] of figures, drawn with the same resampled images for candidate and
    # champion, so that their difference can be judged in pairs.
    replicates: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    # Why single figures of the part were not measured, by metric; a part that measures nothing at
    # all raises ``NotRun`` or ``NotFinite`` instead.
    missing: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Part:
    """One measurement; ``draw`` asks for pictures and tables, which the champion does not need.

    ``measure(model, references, stage, draw)``: ``stage`` is for progress reports.
    """

    name: str
    metrics: Sequence[str]
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
    rival = Measured({})
    asked = config.gates_of(model.name)
    if champion is not None and any(gate.retrain_spread is not None for gate in asked):
        # All gates, as a champion that fails one of them is compared with by none.
        gated = {gate.metric for gate in asked}
        needed = [part for part in parts if gated & set(part.metrics)]
        rival = _measure_champion(needed, champion, references)
    mine = _merged(found)
    figures = {name: _figure(metric, mine, rival) for name, metric in known.items()}
    champion_fails = _champion_fails(asked, known, rival)
    gates = [
        check_gate(
            gate,
            known[gate.metric].title,
            figures[gate.metric].value,
            figures[gate.metric].champion,
            interval=figures[gate.metric].interval,
            difference_interval=_difference_interval(gate.metric, mine, rival),
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
        pictures=mine.pictures,
        tables=mine.tables,
        documents=mine.documents,
        champion=_champion(champion),
        notes=[f"{part}: {why}." for part, why in notes.items()],
    )


def mean_figures(each: Mapping[str, np.ndarray], config: EvaluatorConfig) -> Measured:
    """Figures that are means over images, from their values [N] by metric, with replicates."""
    return Measured(
        values={name: float(np.mean(values)) for name, values in each.items()},
        replicates={
            name: mean_replicates(values, config.bootstrap_replicates, config.seed)
            for name, values in each.items()
        },
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
            found.append(part.measure(model, references, stage, draw))
        except NotRun as error:
            found.append(_nothing(part, error))
            LOGGER.info("%s: %s", stage, error)
        except NotFinite as error:
            found.append(_nothing(part, error))
            notes[part.name] = str(error)
            LOGGER.warning("%s could not be measured: %s", stage, error)
        LOGGER.info("%s took %.1f s", stage, time.monotonic() - started)
    return found, notes


def _nothing(part: Part, why: Exception) -> Measured:
    return Measured({}, missing=dict.fromkeys(part.metrics, str(why)))


def _measure_champion(
    parts: Sequence[Part], champion: LoadedModel, references: References
) -> Measured:
    """What the parts find; ``missing`` leaves out what was not run on purpose."""
    try:
        found, notes = _measure(parts, champion, references, draw=False)
    except InputError as error:
        raise champion_error(error) from error
    broken = {
        metric: notes[part.name] for part in parts if part.name in notes for metric in part.metrics
    }
    return dataclasses.replace(_merged(found), missing=broken)


def champion_error(error: InputError) -> InputError:
    """What is wrong with the champion, and how to go on: it must not be passed over in silence."""
    return InputError(
        f"The champion cannot be compared with: {error} Restore that version, or remove it from "
        "the serving directory."
    )


def _champion_fails(gates: Sequence[Gate], known: Mapping[str, Metric], rival: Measured) -> str:
    """The first gate that the champion's own value fails, in words; empty if it fails none."""
    for gate in gates:
        name = gate.metric
        value, why_missing = rival.values.get(name), rival.missing.get(name, "")
        if words := failed_threshold(gate, known[name].title, value, why_missing):
            return words
    return ""


def _merged(found: Sequence[Measured]) -> Measured:
    """What all parts have found, as one."""

    def mapping(field: str) -> dict[str, Any]:
        return {name: value for part in found for name, value in getattr(part, field).items()}

    return Measured(
        values=mapping("values"),
        floors=mapping("floors"),
        pictures=[picture for part in found for picture in part.pictures],
        tables=[table for part in found for table in part.tables],
        documents=mapping("documents"),
        replicates=mapping("replicates"),
        missing=mapping("missing"),
    )


def _figure(metric: Metric, mine: Measured, rival: Measured) -> Figure:
    name = metric.name
    value = mine.values.get(name)
    return Figure(
        name=name,
        title=metric.title,
        value=value,
        better=metric.better,
        description=metric.description,
        floor=mine.floors.get(name),
        floor_title=metric.floor_title,
        champion=rival.values.get(name),
        interval=_interval(value, mine.replicates.get(name)),
        missing="" if value is not None else mine.missing.get(name, ""),
    )


def _difference_interval(name: str, mine: Measured, rival: Measured) -> tuple[float, float] | None:
    """95 % interval of candidate minus champion, resampled in pairs; None without replicates."""
    values = mine.values.get(name), rival.values.get(name)
    drawn = mine.replicates.get(name), rival.replicates.get(name)
    if any(value is None for value in values) or any(d is None for d in drawn):
        return None
    return _interval(values[0] - values[1], drawn[0] - drawn[1])


def _interval(value: float | None, replicates: np.ndarray | None) -> tuple[float, float] | None:
    if value is None or replicates is None or not np.isfinite(replicates).all():
        return None
    return interval(value, replicates)


def _samples(model: LoadedModel, references: References) -> int:
    """Images that the primary figures rest on: generated ones, or all test images."""
    return references.samples if references.generates(model) else len(references.data.test_images)


def _champion(model: LoadedModel | None) -> Champion | None:
    return Champion(Path(model.path).name, model.path) if model else None
