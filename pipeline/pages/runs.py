"""The page of all runs: state, verdicts, gated metrics and changed settings, the newest first.

    inkwell runs -o runs.html                                                      a second

Contract: pure but for a look whether a report is there, to which the page links from its own place.
"""

import datetime
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.wording import interval, number
from pipeline.local.history import verdict_of
from pipeline.local.overview import Listed
from pipeline.pages.environment import render
from pipeline.results import INTERRUPTED, OK, USER_ERROR, GateResult, ModelResult
from pipeline.terminal.display import duration

_KEY_GATES = 4  # of each model
_KINDS = {OK: "good", USER_ERROR: "unknown", INTERRUPTED: "unknown"}  # else bad


def runs_page(runs: Sequence[Listed], page_dir: Path) -> str:
    """The page, for a file in ``page_dir``."""
    filters = {
        "duration": duration,
        "interval": interval,
        "key_gates": _key_gates,
        "number": number,
        "verdict": verdict_of,
    }
    models = list(dict.fromkeys(model.name for run in runs for model in run.result.models))
    rows = [_row(run, models, page_dir) for run in reversed(runs)]
    return render("runs.html.jinja", filters, rows=rows, models=models)


def _row(run: Listed, models: Sequence[str], page_dir: Path) -> Mapping[str, Any]:
    result = run.result
    named = {model.name: model for model in result.models}
    report = result.report if result.report and Path(result.report).is_file() else None
    return {
        "result": result,
        "kind": _KINDS.get(result.exit_code, "bad"),
        "date": f"{datetime.datetime.fromisoformat(result.started):%Y-%m-%d %H:%M}",
        "models": [named.get(name) for name in models],
        "changed": run.changed,
        "report": report and Path(os.path.relpath(report, page_dir)).as_posix(),
    }


def _key_gates(model: ModelResult) -> list[GateResult]:
    """The first gates whose metric was measured, those that failed before others."""
    measured = [gate for gate in model.gates if gate.value is not None]
    return sorted(measured, key=lambda gate: gate.passed)[:_KEY_GATES]
