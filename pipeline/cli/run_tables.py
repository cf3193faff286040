"""Tables and sentences of ``inkwell runs``, ``show``, ``diff``, ``lineage`` and ``gc``.

Contract: functions from plain results to Rich tables and sentences; nothing here reads TFX. A table
leaves out columns on a narrow terminal, or wraps titles; ids and numbers are never cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from core.wording import REFERENCE_COLUMN, setting, with_interval
from pipeline.local.workspace import ARTIFACTS
from pipeline.results import RunResult
from pipeline.terminal.display import CACHED, DONE, duration
from pipeline.terminal.screen import PlainTable
from pipeline.terminal.tables import FittingTable, reference_cell

if TYPE_CHECKING:
    from core.comparison import Change, Metric
    from pipeline.local.garbage import Garbage
    from pipeline.local.history import Difference, Run
    from pipeline.local.lineage import Origin

_VERDICTS = {"better": "green", "worse": "bold red"}
_COMMIT = re.compile(r"[0-9a-f]{40}(?=-|$)")
_DIGEST = 12  # characters of a digest that a table shows


def runs_table(results: Sequence[RunResult]) -> FittingTable:
    """One line per run, the newest last."""
    rows = []
    for result in results:
        states = [node.state for node in result.nodes]
        rows.append(
            (
                result.run_id,
                result.profile,
                duration(result.seconds),
                result.verdict,
                str(states.count(DONE)),
                str(states.count(CACHED)),
                [f"{model.name} {model.version}" for model in result.models if model.pushed],
            )
        )
    titles = ("run", "profile", "time", "end", "nodes run", "cached", "pushed")
    return FittingTable(titles, rows, spare=("cached", "nodes run"))


def facts(rows: Mapping[str, Any]) -> PlainTable:
    """Names and values; those without a value are left out."""
    table = PlainTable()
    table.show_header = False
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows.items():
        if value not in (None, "", (), [], {}):
            table.add_row(name, value if isinstance(value, Text) else str(value))
    return table


def run_facts(run: Run) -> PlainTable:
    """What kind of run it was, and where its files are."""
    result = run.result
    return facts(
        {
            "run": result.run_id,
            "profile": result.profile,
            "started": result.started,
            "time": duration(result.seconds),
            "end": result.verdict,
            "commit": run.origin.get("commit"),
            "data": data_words(run.data),
            "report": result.report,
            "log": result.log,
            "record": run.record,
        }
    )


def data_words(data: Mapping[str, Any] | None) -> str:
    """``sha256 5fe0…, max_images 3000``."""
    if not data:
        return "not recorded"
    others = [f"{k} {v}" for k, v in data.items() if k != "digest" and v not in (None, False, [])]
    return ", ".join([f"digest {data['digest'][:_DIGEST]}", *others])


def metrics_table(model: str, metrics: Mapping[str, Metric]) -> PlainTable:
    """Every metric of a model with half its 95 % interval, and its reference value."""
    table = _titled(f"metrics: {model}", "value", REFERENCE_COLUMN)
    for metric in metrics.values():
        reference = reference_cell(metric.reference, metric.better)
        table.add_row(metric.title, with_interval(metric.value, metric.interval), reference)
    return table


def difference_tables(found: Difference) -> Iterator[PlainTable | str]:
    """Tables and sentences on what differs, settings first."""
    names = [run.result.run_id for run in found.runs]
    first, second = (run.result.verdict for run in found.runs)
    yield _pairs("", names, {"end": (first, second), **found.verdicts})
    parts = {
        "settings": (found.settings, [run.settings for run in found.runs]),
        "data": (found.data, [run.data for run in found.runs]),
        "code": (found.code, [run.origin for run in found.runs]),
    }
    for title, (pairs, _) in parts.items():
        if pairs:
            yield _pairs(title, names, pairs)
    equal = [title for title, (pairs, given) in parts.items() if all(given) and not pairs]
    unknown = [title for title, (_, given) in parts.items() if not any(given)]
    if equal:
        yield f"The same in both: {', '.join(equal)}."
    if unknown:
        yield f"Recorded by neither run: {', '.join(unknown)}."
    models = list(dict.fromkeys([*(change.model for change in found.changes), *found.same]))
    for model in models:
        changes = [change for change in found.changes if change.model == model]
        count = found.same.get(model, 0)
        if changes:
            yield _changes_table(model, names, changes)
        if count and changes:
            yield f"The same value in both: {count} other metric{'s' * (count > 1)} of {model}."
        elif count:
            yield f"The same value in both: every metric of {model}."
    if any(change.verdict for change in found.changes):
        yield "better, worse: the 95 % intervals do not meet; unclear: they do."


def _changes_table(model: str, names: Sequence[str], changes: Sequence[Change]) -> PlainTable:
    table = _titled(f"metrics: {model}", *names, "change")
    for change in changes:
        values = ["" if m is None else with_interval(m.value, m.interval) for m in change.metrics]
        verdict = Text(change.verdict, _VERDICTS.get(change.verdict, ""))
        table.add_row(change.either.title, *values, verdict)
    table.columns[-1].justify = "left"
    return table


def _titled(title: str, *columns: str) -> PlainTable:
    """A table whose first column wraps between words and whose others are numbers."""
    table = PlainTable()
    table.add_column(title, overflow="fold")
    for name in columns:
        table.add_column(name, no_wrap=True, justify="right")
    return table


def _pairs(title: str, names: Sequence[str], pairs: Mapping[str, tuple[Any, Any]]) -> PlainTable:
    table = PlainTable()
    for name in (title, *names):
        table.add_column(name, overflow="fold")
    for key, values in pairs.items():
        table.add_row(key, *map(setting, values))
    return table


def _value(value: Any) -> str:
    """As ``setting``, with a commit as short as a digest."""
    words = setting(value)
    commit = _COMMIT.match(words)
    return words.replace(commit[0], commit[0][:_DIGEST]) if commit else words


def origin_tables(origin: Origin) -> Iterator[PlainTable | str]:
    """Where a version comes from: facts, settings, packages, and all artifacts behind it."""
    lineage = origin.lineage
    versions = lineage.get("packages") or {}
    yield facts(
        {
            "model": origin.model,
            "version": origin.version,
            "labels": ", ".join(origin.labels),
            "directory": origin.directory,
            "files": Text(f"damaged: {origin.damage}", "bold red") if origin.damage else "whole",
            "pushed": lineage.get("pushed_at"),
            "run": lineage.get("run_id"),
            "commit": lineage.get("commit") or "not recorded",
            "data": data_words(lineage.get("data")),
            "packages": ", ".join(f"{k} {v}" for k, v in versions.items()) or "not recorded",
        }
    )
    for group, settings in (lineage.get("settings") or {}).items():
        yield facts({f"{group}.{key}": _value(value) for key, value in (settings or {}).items()})
    table = PlainTable()
    for title in (f"artifact in {ARTIFACTS}", "made from"):
        table.add_column(title, overflow="fold")
    gone = False
    for artifact in origin.artifacts:
        gone |= artifact.present is False
        mark = " (removed)" if artifact.present is False else ""
        table.add_row(f"{_short(artifact.uri)}{mark}", "\n".join(map(_short, artifact.made_from)))
    yield table
    if all(artifact.present is None for artifact in origin.artifacts):
        yield "This run is not in the directory of runs, so nothing more is known of its artifacts."


def _short(uri: str) -> str:
    """Without the folder of all artifacts, so that two fit on a line."""
    return uri.removeprefix(f"{ARTIFACTS}/")


def garbage_table(found: Sequence[Garbage]) -> PlainTable:
    """Every artifact that would go, and its size."""
    table = PlainTable()
    table.add_column("artifact", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    for one in found:
        table.add_row(str(one.path), size(one.size))
    return table


def size(count: int) -> str:
    """Bytes in words: ``3.4 MB``."""
    for unit, bytes_ in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= bytes_:
            return f"{count / bytes_:.1f} {unit}"
    return f"{count} bytes"
