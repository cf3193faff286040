"""Sentences and tables at the end of a run, and of ``inkwell models``.

Contract: functions from plain results to Rich tables and sentences; nothing here reads TFX.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.text import Text

from core.artifacts import METRICS_FILE, read_json
from core.models import MODELS
from core.wording import FORM_ONLY, REFERENCE_COLUMN, number, reference_word, with_interval
from pipeline.config import RunConfig
from pipeline.results import (
    CRASHED,
    INTERRUPTED,
    NOT_APPROVED,
    USER_ERROR,
    GateResult,
    ModelResult,
    NodeResult,
    RunResult,
)
from pipeline.terminal.display import STYLES, duration
from pipeline.terminal.screen import PlainTable, say
from serving.releases import Release
from serving.versions import LINEAGE_FILE, extra_file, list_versions

if TYPE_CHECKING:
    from components.evaluator.results import Evaluation

_UNLIMITED = 100_000  # columns
_MOST_GATES = 2  # failed gates of a model in the closing sentence


def print_summary(result: RunResult, console: Console, steps: str = "") -> None:
    """The closing table, gates, the result of every model, ``steps``, and the page's path."""
    console.print(node_table(result.nodes, result.seconds))
    console.print()
    for model in result.models:
        if model.gates:
            console.print(gate_table(model))
            console.print()
    judged = [model for model in result.models if model.blessed is not None]
    for model in judged:
        say(console, model_sentence(model))
    if judged:
        console.print()
    say(console, end_sentence(result))
    if steps:
        say(console, steps)
    if result.check:
        say(console, f"The data beside the baseline: {result.check}")
    if result.report:
        say(console, result.report)


def node_table(nodes: Sequence[NodeResult], seconds: float | None = None) -> PlainTable:
    """Node, state and seconds, and those of the whole run where they are known."""
    table = _table("node", "state", "seconds")
    table.columns[2].justify = "right"
    for node in nodes:
        taken = "" if node.seconds is None else f"{node.seconds:.1f}"
        table.add_row(node.id, Text(node.state, style=STYLES.get(node.state, "dim")), taken)
    if seconds is not None:
        table.add_section()
        table.add_row("all", "", f"{seconds:.1f}")
    return table


def gate_table(model: ModelResult) -> PlainTable:
    """Every gate of a model: value with half its 95 % interval, bound and verdict.

    The bound is the stricter one of threshold and champion's limit; the verdict is ``worse`` if the
    value passes the threshold but not the limit.
    """
    table = _table(f"gates: {model.name}", "value", "must be", "verdict")
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
    words = f"{'≤' if is_max else '≥'} {number(bound)}"
    if gate.passed:
        return words, Text("passed", "green")
    return words, Text("worse" if _is_worse(gate) else "failed", "bold red")


def _is_worse(gate: GateResult) -> bool:
    """Whether the value of a failed gate passes the threshold, but not the champion's limit."""
    if gate.limit is None:  # there is a limit only if the value is finite
        return False
    is_max = gate.direction == "max"
    return gate.value <= gate.threshold if is_max else gate.value >= gate.threshold


def metric_table(evaluation: Evaluation) -> PlainTable:
    """Every measured metric, its reference value and the champion's value."""
    table = _table(f"metrics: {evaluation.model}", "value", REFERENCE_COLUMN, "champion")
    table.columns[0].no_wrap = False
    for column in table.columns[1:]:
        column.justify = "right"
    for figure in evaluation.figures:
        if figure.value is not None:
            value = with_interval(figure.value, figure.interval)
            champion = "" if figure.champion is None else number(figure.champion)
            reference = reference_cell(figure.floor, figure.better)
            table.add_row(figure.title, value, reference, champion)
    return table


def reference_cell(value: float | None, better: str | None) -> str:
    """``floor 2.44``: the reference value of a metric, after what it is called."""
    return "" if value is None else f"{reference_word(better)} {number(value)}"


def missing_sentences(evaluation: Evaluation) -> list[str]:
    """The metrics that were not measured: one line per reason."""
    titles: dict[str, list[str]] = {}
    for figure in evaluation.figures:
        if figure.value is None:
            titles.setdefault(figure.missing, []).append(figure.title)
    return [f"{', '.join(names)}: {why}" for why, names in titles.items()]


def model_sentence(model: ModelResult) -> Text:
    """The result of a model and the reason."""
    place = f"version {model.version} in {model.destination}"
    if model.problem:
        return Text.assemble(
            (f"{model.name}: approved, and not in serving", "bold red"),
            f". {place[0].upper()}{place[1:]}: {model.problem}. Remove what is left of it, and run "
            "the same command again to push it.",
        )
    if model.pushed:
        form_only = "" if model.quality_gates else f". {FORM_ONLY}"
        return Text.assemble((f"{model.name}: approved", "green"), f", {place}", form_only)
    why = ""
    if not model.blessed:
        failed = [gate.sentence or gate.title for gate in model.gates if not gate.passed]
        head, why = "not approved", " ".join(failed) or "The evaluation gave no reason."
    elif model.infra_blessed is False:
        head, why = "not pushed, it fails the serving check", model.infra_reason
    elif model.pushed is None:
        head, why = "approved", "The run ended before it was pushed."
    else:
        head, why = "not pushed", model.refusal
    return Text.assemble((f"{model.name}: {head}", "bold red"), f". {why}".rstrip())


def end_sentence(result: RunResult) -> str:
    """The end of the run, and how to continue."""
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
    models = result.models
    parts = {
        "pushed": [model.name for model in models if model.pushed and not model.problem],
        "not pushed": [_rejected(model) for model in models if not model.pushed],
        "not in serving": [f"{model.name} ({model.problem})" for model in models if model.problem],
    }
    others = [f"version {model.served} of {model.name}" for model in models if model.served]
    if result.exit_code == NOT_APPROVED:
        words = "; ".join(f"{head}: {', '.join(found)}" for head, found in parts.items() if found)
    elif others:
        words = "every model is approved and pushed"
    else:
        words = "every model is approved and in serving"
    instead = f"; clients get {', '.join(others)}" if others else ""
    return f"Done in {time}; {words}{instead}."


def _rejected(model: ModelResult) -> str:
    """A model that was not pushed, and a short reason."""
    why = [_failed(gate) for gate in model.gates if not gate.passed]
    if len(why) > _MOST_GATES:
        why[_MOST_GATES:] = [f"and {len(why) - _MOST_GATES} more"]
    if model.infra_blessed is False:
        why.append(f"serving check: {model.infra_reason.rstrip('.')}")
    if model.refusal:
        why.append(model.refusal.rstrip("."))
    return f"{model.name} ({'; '.join(why)})" if why else model.name


def _failed(gate: GateResult) -> str:
    """``Precision 0.84, at least 0.957 next to the champion``."""
    worse = _is_worse(gate)
    bound = gate.limit if worse else gate.threshold
    words = f"at {'most' if gate.direction == 'max' else 'least'} {number(bound)}"
    return f"{gate.title} {number(gate.value)}, {words}{' next to the champion' * worse}"


def next_steps(result: RunResult, output_dir: str, serving_dir: str) -> str:
    """The commands that show the models a run has pushed, ready to type; empty if none.

    Models in a store such as ``s3://`` are not served from here.
    """
    if not any(model.pushed for model in result.models):
        return ""
    report = f"See it: {_command('report', 'output', output_dir)} --open"
    if "://" in serving_dir:
        return report
    return f"{report}    Try it: {_command('serve', 'serving', serving_dir)} --playground"


def _command(name: str, option: str, directory: str) -> str:
    """The command, with the option if the directory is not the default."""
    command = f"{shlex.quote(_program())} {name}"
    is_default = directory == getattr(RunConfig(), f"{option}_dir")
    return command if is_default else f"{command} --{option} {shlex.quote(directory)}"


def _program() -> str:
    """The command of this program in a shell: after ``make run`` it is not on PATH."""
    started = sys.argv[0]
    if shutil.which("inkwell") or os.path.basename(started) != "inkwell":
        return "inkwell"
    # A shell searches a name without a slash only on PATH.
    paths = [path for path in (started, os.path.relpath(started)) if os.sep in path]
    return min(paths, key=len, default="inkwell")


@dataclasses.dataclass(frozen=True)
class ServedVersion:
    """One version in the serving directory."""

    model: str
    version: str
    pushed: str
    metric: str
    verdict: str
    is_newest: bool


def served_versions(serving_dir: Path) -> list[ServedVersion]:
    """Every version of every model in the serving directory, oldest first."""
    found = []
    for model in MODELS:
        paths = [version.path for version in list_versions(serving_dir / model)]
        for path in paths:
            metrics = read_json(extra_file(path, METRICS_FILE))
            found.append(
                ServedVersion(
                    model=model,
                    version=path.name,
                    pushed=_pushed(path),
                    metric=_key_metric(metrics),
                    verdict=_verdict(metrics),
                    is_newest=path == paths[-1],
                )
            )
    return found


def models_table(
    found: Sequence[ServedVersion],
    releases: Mapping[str, Release],
    states: Mapping[tuple[str, int], str],
) -> FittingTable:
    """Versions with their labels and states.

    Args:
        found: Versions on disk.
        releases: Labels by model.
        states: State by model and version, as a model server reports it; empty without one.
    """
    rows = [
        (
            version.model,
            version.version,
            version.pushed,
            version.metric,
            version.verdict,
            Text(", ".join(labels_of(version, releases)), "green"),
            states.get((version.model, int(version.version)), ""),
        )
        for version in found
    ]
    titles = ("model", "version", "pushed", "key metric", "verdict", "label", "state")
    return FittingTable(titles, rows, spare=("pushed", "key metric"))


def labels_of(version: ServedVersion, releases: Mapping[str, Release]) -> list[str]:
    """Labels of a version; newest, which clients get, where the model has none."""
    labels = releases.get(version.model, Release()).labels
    if not labels and version.is_newest:
        return ["newest"]
    return [label for label, labelled in labels.items() if labelled == int(version.version)]


def _pushed(version: Path) -> str:
    """Local time of the push: from the lineage, which a copy of the version keeps."""
    lineage = read_json(extra_file(version, LINEAGE_FILE)) or {}
    if "pushed_at" in lineage:
        moment = datetime.datetime.fromisoformat(lineage["pushed_at"]).astimezone()
    else:
        moment = datetime.datetime.fromtimestamp(version.stat().st_mtime).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M")


def _key_metric(metrics: dict[str, Any] | None) -> str:
    """The first gated metric."""
    for gate in (metrics or {}).get("gates", []):
        return f"{gate.get('title') or gate['metric']} {number(gate.get('value'))}"
    return "unknown"


def _verdict(metrics: dict[str, Any] | None) -> str:
    if metrics is None:
        return "unknown"
    return "approved" if metrics.get("blessed") else "not approved"


@dataclasses.dataclass(frozen=True)
class FittingTable:
    """A table that drops columns on a narrow console rather than cutting text.

    Cells that hold a list have one line per item where the items do not fit into one line; then
    columns of ``spare`` go, as few as need be. Only what is wider still ends at the margin.
    """

    titles: Sequence[str]
    rows: Sequence[Sequence[str | Text | Sequence[str]]]
    spare: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for table in self._choices():
            width = console.measure(table, options=options.update(width=_UNLIMITED)).maximum
            if width <= options.max_width:
                break
        yield from console.render(table, options.update(width=width))

    def _choices(self) -> Iterator[PlainTable]:
        """Tables with fewer and fewer columns."""
        yield self._table(", ", ())
        for count in range(len(self.spare) + 1):
            for left_out in itertools.combinations(self.spare, count):
                yield self._table("\n", left_out)

    def _table(self, between: str, left_out: Sequence[str]) -> PlainTable:
        kept = [i for i, title in enumerate(self.titles) if title not in left_out]
        table = _table(*(self.titles[i] for i in kept))
        for row in self.rows:
            cells = (row[i] for i in kept)
            table.add_row(*(between.join(c) if isinstance(c, list) else c for c in cells))
        return table


def _table(*titles: str) -> PlainTable:
    return PlainTable(*titles, no_wrap=True, overflow="fold")
