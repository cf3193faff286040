"""Past runs: found by a short name, read with everything that is kept of them, and compared.

Contract: reads records, metadata and metrics, and changes nothing. A run is named by its id, by the
beginning of it, or as ``newest``. What an older release did not record is None or empty.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.artifacts import METRICS_FILE, read_json
from core.comparison import Change, Metric, differing, flatten, measured
from core.config import InputError, require
from core.models import MODELS
from core.origin import DATA_PROPERTY
from pipeline.local.database import DATABASE, check
from pipeline.local.workspace import spelled_out
from pipeline.plan import PIPELINE_NAME
from pipeline.results import GateResult, ModelResult, RunResult, load_results, read_record

NEWEST = "newest"
_NAMED = 5  # runs that a mistake names
_NO_SETTINGS = ("output_dir", "mlflow", "reason")


@dataclasses.dataclass(frozen=True)
class Run:
    """All that is known of a run."""

    result: RunResult
    settings: Mapping[str, Any]  # as the configuration has them
    origin: Mapping[str, Any]  # as ``core.origin.code_origin`` has it; empty if not recorded
    data: Mapping[str, Any]  # digest of the data, and how they were read; empty if not recorded
    metrics: Mapping[str, Mapping[str, Metric]]  # by model and name
    record: Path


@dataclasses.dataclass(frozen=True)
class Difference:
    """What differs between two runs; each pair is that of the first and the second."""

    runs: tuple[Run, Run]
    settings: Mapping[str, tuple[Any, Any]]  # by dotted key
    data: Mapping[str, tuple[Any, Any]]
    code: Mapping[str, tuple[Any, Any]]  # commit, and versions of packages
    verdicts: Mapping[str, tuple[str, str]]  # of every model, in words
    changes: Sequence[Change]  # metrics whose values differ
    same: Mapping[str, int]  # number of metrics with the same value, by model


def find(output_dir: Path, name: str) -> Run:
    """The run of that name.

    Raises:
        InputError: There is no such run, or more than one; the sentence names those that there are.
    """
    name = choose_id(output_dir, [result.run_id for result in load_results(output_dir)], name)
    [record] = output_dir.glob(f"*/runs/{name}.json")
    return read(record)


def choose_id(output_dir: Path, ids: Sequence[str], name: str) -> str:
    """The one of ``ids``, oldest first, that ``name`` names.

    Raises:
        InputError: None does, or more than one; the sentence names those that there are.
    """
    where = spelled_out(output_dir)
    require(bool(ids), f"There are no runs in {where} yet; start one with: inkwell run")
    if name == NEWEST:
        found = ids[-1:]
    else:
        found = [i for i in ids if i == name] or [i for i in ids if name and i.startswith(name)]
    if not found:
        raise InputError(f"There is no run {name} in {where}; the runs there: {_listed(ids)}.")
    if len(found) > 1:
        raise InputError(
            f"{len(found)} runs in {where} begin with {name}: {_listed(found)}; name one."
        )
    return found[0]


def _listed(ids: Sequence[str]) -> str:
    """The newest of them, and how many more there are."""
    named = [*reversed(ids[-_NAMED:])]
    more = f" and {len(ids) - len(named)} older" if len(ids) > len(named) else ""
    return f"{', '.join(named)}{more} (or {NEWEST})"


def read(record: Path) -> Run:
    """The run of a record.

    Raises:
        InputError: The record or the metadata cannot be read.
    """
    result, content = read_record(record), json.loads(record.read_text(encoding="utf-8"))
    data, evaluations = _artifacts(record.parents[1], result.run_id)
    return Run(
        result=result,
        settings=content.get("config") or {},
        origin=content.get("origin") or {},
        data=data,
        metrics={
            model.name: measured(evaluations.get(model.name)) or _gated(model.gates)
            for model in result.models
        },
        record=record,
    )


def settings_of(record: Path) -> Mapping[str, Any]:
    """The settings in a record; empty if it cannot be read."""
    try:
        return json.loads(record.read_text(encoding="utf-8"))["config"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _artifacts(profile_dir: Path, run_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the data are, and metrics.json by model, from the artifacts of a run."""
    database = profile_dir / DATABASE
    check(database)
    if not database.is_file():
        return {}, {}
    from pipeline.local.metadata import RunMetadata

    metadata = RunMetadata(database, PIPELINE_NAME)
    examples = metadata.output(run_id, "example-gen", "examples")
    recorded = examples.custom_properties.get(DATA_PROPERTY) if examples else None
    found = {}
    for name, kind in MODELS.items():
        evaluation = metadata.output(run_id, kind.evaluator, "evaluation")
        if evaluation and (metrics := read_json(metadata.directory(evaluation) / METRICS_FILE)):
            found[name] = metrics
    return json.loads(recorded.string_value) if recorded else {}, found


def _gated(gates: Sequence[GateResult]) -> dict[str, Metric]:
    """The metrics of the gates, which the record itself has: by title, as it has no names."""
    better = {"max": "lower", "min": "higher"}
    return {
        g.title: Metric(g.title, g.title, g.value, g.interval, better.get(g.direction, ""))
        for g in gates
        if g.value is not None
    }


def compare(first: Run, second: Run) -> Difference:
    """What differs between two runs."""
    runs = (first, second)
    changes, same = [], {}
    for model in {**first.metrics, **second.metrics}:
        sides = [run.metrics.get(model, {}) for run in runs]
        for name in {**sides[0], **sides[1]}:
            pair = (sides[0].get(name), sides[1].get(name))
            if pair[0] and pair[1] and pair[0].value == pair[1].value:
                same[model] = same.get(model, 0) + 1
            else:
                changes.append(Change(model, pair))
    settings, code = (
        differing(*(computing(part(run)) for run in runs))
        for part in (lambda run: run.settings, lambda run: run.origin)
    )
    named = [{model.name: model for model in run.result.models} for run in runs]
    return Difference(
        runs=runs,
        settings=settings,
        data=differing(first.data, second.data),
        code={key.removeprefix("packages."): pair for key, pair in code.items()},
        verdicts={
            name: (verdict_of(named[0].get(name)), verdict_of(named[1].get(name)))
            for name in {**named[0], **named[1]}
        },
        changes=changes,
        same=same,
    )


def computing(part: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted key, without those that change nothing that is computed."""
    rows = flatten(part) if part else {}
    return {k: v for k, v in rows.items() if k.rpartition(".")[2] not in _NO_SETTINGS}


def verdict_of(model: ModelResult | None) -> str:
    """What became of a model: ``pushed as 18``, ``not approved``, ``not judged``."""
    if model is None or model.blessed is None:
        return "not judged"
    if model.pushed:
        return f"pushed as {model.version}"
    return "not pushed" if model.blessed else "not approved"
