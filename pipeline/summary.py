"""The words and tables at the end of a run, and those of ``inkwell runs`` and ``inkwell models``.

Contract: functions from plain results to Rich tables and sentences; nothing here reads TFX.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.report.data import read_json
from pipeline.progress import CACHED, DONE, FAILED, duration
from pipeline.results import (
    CRASHED,
    INTERRUPTED,
    MODELS,
    USER_ERROR,
    GateResult,
    ModelResult,
    NodeResult,
    RunResult,
)
from serving.model_server.versions import list_versions
from serving.releases import Release

if TYPE_CHECKING:
    from components.evaluator.results import Evaluation

_STYLES = {DONE: "green", CACHED: "blue", FAILED: "bold red"}


def print_summary(result: RunResult, console: Console) -> None:
    """The closing table, the gates of every model, what was pushed, and the report's path."""
    console.print(node_table(result.nodes, result.seconds))
    for model in result.models:
        if model.gates:
            console.print(gate_table(model))
    for model in result.models:
        if model.blessed is not None:
            console.print(model_sentence(model), highlight=False, soft_wrap=True)
    console.print(end_sentence(result), highlight=False, soft_wrap=True, markup=False)
    if result.report:
        console.print(result.report, highlight=False, soft_wrap=True, markup=False)


def node_table(nodes: Sequence[NodeResult], seconds: float | None = None) -> Table:
    """Node, state and seconds, and those of the whole run where they are known."""
    table = _table("node", "state", "seconds")
    table.columns[2].justify = "right"
    for node in nodes:
        taken = "" if node.seconds is None else f"{node.seconds:.1f}"
        table.add_row(node.id, Text(node.state, style=_STYLES.get(node.state, "dim")), taken)
    if seconds is not None:
        table.add_section()
        table.add_row("all", "", f"{seconds:.1f}")
    return table


def gate_table(model: ModelResult) -> Table:
    """Every gate of a model: value with half its 95 % interval, bound and verdict.

    The bound is the stricter one of threshold and champion's limit; the verdict of a figure that
    holds the threshold alone is ``worse``.
    """
    table = _table(f"gates: {model.name}", "value", "asked", "verdict")
    table.columns[0].no_wrap = False  # titles are long
    for column in table.columns[1:3]:
        column.justify = "right"
    for gate in model.gates:
        table.add_row(gate.title, with_interval(gate.value, gate.interval), *_judged(gate))
    return table


def _judged(gate: GateResult) -> tuple[str, Text]:
    """The stricter bound, and the verdict."""
    is_max = gate.direction == "max"
    bounds = [bound for bound in (gate.threshold, gate.limit) if bound is not None]
    bound = (min if is_max else max)(bounds, default=None)
    asked = f"{'≤' if is_max else '≥'} {_number(bound)}"
    if gate.passed:
        return asked, Text("passed", "green")
    # A limit is there only beside a finite value.
    holds = gate.limit is not None and (
        gate.value <= gate.threshold if is_max else gate.value >= gate.threshold
    )
    return asked, Text("worse" if holds else "failed", "bold red")


def figure_table(evaluation: Evaluation) -> Table:
    """Every figure that was measured, its reference value and the champion's."""
    table = _table(f"figures: {evaluation.model}", "value", "reference", "champion")
    table.columns[0].no_wrap = False
    for column in table.columns[1:]:
        column.justify = "right"
    for figure in evaluation.figures:
        if figure.value is not None:
            value = with_interval(figure.value, figure.interval)
            others = (figure.floor, figure.champion)
            table.add_row(figure.title, value, *("" if o is None else _number(o) for o in others))
    return table


def missing_sentences(evaluation: Evaluation) -> list[str]:
    """Which figures were not measured: one line per reason."""
    titles: dict[str, list[str]] = {}
    for figure in evaluation.figures:
        if figure.value is None:
            titles.setdefault(figure.missing, []).append(figure.title)
    return [f"{', '.join(names)}: {why}" for why, names in titles.items()]


def with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    """``6.52 ± 0.41``: the value and half the width of its interval, to the same decimals."""
    if value is None or interval is None:
        return _number(value)
    half = (interval[1] - interval[0]) / 2
    if half == 0:
        return f"{_number(value)} ± 0"
    decimals = max(0, 1 - math.floor(math.log10(half)))  # two digits of the uncertainty
    return f"{value:.{decimals}f} ± {half:.{decimals}f}"


def model_sentence(model: ModelResult) -> Text:
    """What became of a model and why."""
    if model.pushed:
        return Text.assemble(
            (f"{model.name}: approved", "green"),
            f", version {model.version} in {model.destination}",
        )
    why = ""
    if not model.blessed:
        failed = [gate.sentence or gate.title for gate in model.gates if not gate.passed]
        head, why = "not approved", " ".join(failed) or "The evaluation gave no reason."
    elif model.infra_blessed is False:
        head, why = "not pushed, it fails the serving check", model.infra_reason
    elif model.pushed is None:
        head, why = "approved", "The run ended before it was pushed."
    else:
        head = "not pushed"
    return Text.assemble((f"{model.name}: {head}", "bold red"), f". {why}".rstrip())


def end_sentence(result: RunResult) -> str:
    """How the run ended, and how to go on."""
    failure, time = result.failure, duration(result.seconds)
    if result.exit_code == USER_ERROR:
        return f"Stopped at {failure.node} after {time}: {failure.message}"
    if result.exit_code == CRASHED:
        return f"Node {failure.node} failed: {failure.message}; the log is {result.log}"
    if result.exit_code == INTERRUPTED:
        where = f" at {failure.node}" if failure.node else ""
        return (
            f"Interrupted{where} after {time}. Run the same command again to go on: finished nodes "
            "are cached."
        )
    rejected = [model.name for model in result.models if not model.pushed]
    if rejected:
        return f"Done in {time}; not pushed: {', '.join(rejected)}."
    return f"Done in {time}; every model is approved and in serving."


def runs_table(results: Sequence[RunResult]) -> Table:
    """One line per run, the newest last."""
    table = _table("run", "profile", "time", "end", "nodes run", "cached", "pushed")
    for result in results:
        states = [node.state for node in result.nodes]
        pushed = [f"{m.name} {m.version}" for m in result.models if m.pushed]
        table.add_row(
            result.run_id,
            result.profile,
            duration(result.seconds),
            result.verdict,
            str(states.count(DONE)),
            str(states.count(CACHED)),
            ", ".join(pushed),
        )
    return table


@dataclasses.dataclass(frozen=True)
class ServedVersion:
    """One version in the serving directory."""

    model: str
    version: str
    pushed: str
    figure: str
    verdict: str
    is_newest: bool


def served_versions(serving_dir: Path) -> list[ServedVersion]:
    """Every version of every model in the serving directory, oldest first."""
    found = []
    for model in MODELS:
        paths = [version.path for version in list_versions(serving_dir / model)]
        for path in paths:
            metrics = read_json(path / "assets.extra" / "metrics.json")
            found.append(
                ServedVersion(
                    model=model,
                    version=path.name,
                    pushed=_pushed(path),
                    figure=_key_figure(metrics),
                    verdict=_verdict(metrics),
                    is_newest=path == paths[-1],
                )
            )
    return found


def models_table(
    found: Sequence[ServedVersion],
    releases: Mapping[str, Release],
    states: Mapping[tuple[str, int], str],
) -> Table:
    """Versions with what clients get of them.

    Args:
        found: Versions on disk.
        releases: Labels by model.
        states: State by model and version, as a model server tells it; empty without one.
    """
    table = _table("model", "version", "pushed", "key figure", "verdict", "label", "state")
    for version in found:
        release = releases.get(version.model, Release())
        number = int(version.version)
        labels = [label for label, labelled in release.labels.items() if labelled == number]
        if not release.labels and version.is_newest:
            labels = ["newest"]
        table.add_row(
            version.model,
            version.version,
            version.pushed,
            version.figure,
            version.verdict,
            Text(", ".join(labels), "green"),
            states.get((version.model, number), ""),
        )
    return table


def _pushed(version: Path) -> str:
    """When the version was pushed, in local time: from its lineage, which a copy keeps."""
    lineage = read_json(version / "assets.extra" / "lineage.json") or {}
    if "pushed_at" in lineage:
        moment = datetime.datetime.fromisoformat(lineage["pushed_at"]).astimezone()
    else:
        moment = datetime.datetime.fromtimestamp(version.stat().st_mtime)
    return moment.strftime("%Y-%m-%d %H:%M")


def _key_figure(metrics: dict[str, Any] | None) -> str:
    """The first gated figure: what the model was approved by."""
    for gate in (metrics or {}).get("gates", []):
        return f"{gate.get('title') or gate['metric']} {_number(gate.get('value'))}"
    return "unknown"


def _verdict(metrics: dict[str, Any] | None) -> str:
    if metrics is None:
        return "unknown"
    return "approved" if metrics.get("blessed") else "not approved"


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title_justify="left")
    for title in titles:
        table.add_column(title, no_wrap=True, overflow="fold")
    return table


def _number(value: float | None) -> str:
    return "missing" if value is None or value != value else f"{value:.4g}"
