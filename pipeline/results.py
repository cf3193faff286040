"""The result of a run: nodes, models and the failure, as plain data that is saved as JSON.

Contract: ``RunResult`` is written to ``<output_dir>/<profile>/runs/<run id>.json`` after every
run, whatever its end; ``exit_code`` follows from it. Imports nothing heavy.
"""

import dataclasses
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from core.config import InputError, from_dict
from core.files import write_whole

_LOG = logging.getLogger(__name__)
_RUN_ID = re.compile(r"(\d{8}-\d{6})(?:-(\d+))?")
_PLACES = ("report", "log", "check")  # of a result: paths below the directory of its profile

OK, CRASHED, USER_ERROR, NOT_APPROVED, INTERRUPTED = 0, 1, 2, 3, 130


@dataclasses.dataclass(frozen=True)
class NodeResult:
    """One node: its state is done, cached, failed, interrupted or not run."""

    id: str
    state: str
    seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class GateResult:
    """One gate with the Evaluator's verdict."""

    title: str
    passed: bool
    value: float | None = None
    threshold: float | None = None
    direction: str = "max"
    sentence: str = ""
    interval: tuple[float, float] | None = None  # 95 %, of the value
    limit: float | None = None  # the worst value that the champion allows; None: no comparison
    metric: str = ""  # its name in the catalogue; empty in a record of an older release


@dataclasses.dataclass(frozen=True)
class ModelResult:
    """One model; None marks steps that did not run."""

    name: str
    gates: list[GateResult] = dataclasses.field(default_factory=list)
    blessed: bool | None = None
    infra_blessed: bool | None = None
    infra_reason: str = ""
    pushed: bool | None = None
    version: str = ""
    destination: str = ""
    quality_gates: bool = True  # whether its gates judge quality
    refusal: str = ""  # why it was not pushed, although both verdicts approve it
    problem: str = ""  # what is wrong with the pushed version at the end of the run
    served: str = ""  # the version that clients get then, if it is another


@dataclasses.dataclass(frozen=True)
class Failure:
    """The reason of an early end: ``kind`` is input, crash or interrupt."""

    kind: str
    node: str
    message: str


@dataclasses.dataclass(frozen=True)
class RunResult:
    """A whole run."""

    run_id: str
    profile: str
    started: str  # ISO 8601 with time zone
    seconds: float
    nodes: list[NodeResult]
    models: list[ModelResult]
    report: str | None  # path of the page
    log: str
    failure: Failure | None = None
    check: str | None = None  # path of the page about the data, where the data gate ended the run

    @property
    def exit_code(self) -> int:
        """0 all approved and pushed, 1 a crash, 2 a user error, 130 interrupted; 3 if a model was
        not approved, or was pushed and is not whole in its place at the end.
        """
        if self.failure:
            codes = {"input": USER_ERROR, "interrupt": INTERRUPTED}
            return codes.get(self.failure.kind, CRASHED)
        is_whole = not any(model.problem for model in self.models)
        return OK if self._all_pushed and is_whole else NOT_APPROVED

    @property
    def _all_pushed(self) -> bool:
        return all(model.pushed for model in self.models)

    @property
    def verdict(self) -> str:
        """The end of the run in a word or two."""
        return {
            OK: "pushed",
            CRASHED: "crashed",
            USER_ERROR: "stopped",
            NOT_APPROVED: "not in serving" if self._all_pushed else "not approved",
            INTERRUPTED: "interrupted",
        }[self.exit_code]


def read_gate(gate: dict[str, Any]) -> GateResult:
    """A gate of metrics.json."""
    return GateResult(
        title=gate.get("title") or gate["metric"],
        passed=bool(gate["passed"]),
        value=gate.get("value"),
        threshold=gate.get("threshold"),
        direction=gate.get("direction", "max"),
        sentence=gate.get("sentence", ""),
        interval=tuple(gate["interval"]) if gate.get("interval") else None,
        limit=gate.get("limit"),
        metric=gate["metric"],
    )


def order_of(run_id: str) -> tuple[str, int]:
    """By which the ids of runs are sorted: the time, and the number of those that follow it."""
    found = _RUN_ID.fullmatch(run_id)
    return (found[1], int(found[2] or 1)) if found else ("", 0)


def save_result(
    result: RunResult,
    config: dict[str, Any],
    profile_dir: Path,
    origin: Mapping[str, Any] = MappingProxyType({}),
) -> Path:
    """Writes the result, the resolved configuration and ``code_origin``; returns the path.

    Paths below ``profile_dir`` are written from there, so that it can be moved.
    """
    path = profile_dir / "runs" / f"{result.run_id}.json"
    places = {
        name: os.path.relpath(place, profile_dir)
        for name in _PLACES
        if (place := getattr(result, name))
    }
    record = {"result": dataclasses.asdict(result) | places, "config": config}
    record["origin"] = dict(origin)
    write_whole(path, json.dumps(record, indent=1))
    return path


def load_results(output_dir: Path) -> list[RunResult]:
    """All runs under ``output_dir``, of every profile, oldest first.

    A record that cannot be read is skipped with a warning.
    """
    found = [_load(path) for path in output_dir.glob("*/runs/*.json")]
    return sorted(filter(None, found), key=lambda result: order_of(result.run_id))


def _load(path: Path) -> RunResult | None:
    try:
        return read_record(path)
    except InputError as error:
        _LOG.warning("%s The record is skipped.", error)
        return None


def read_record(path: Path) -> RunResult:
    """The result in a record that ``save_result`` wrote.

    Raises:
        InputError: It cannot be read, or is none.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        result = from_dict(RunResult, record["result"])
    except (OSError, ValueError, TypeError, KeyError, InputError) as error:
        raise InputError(f"{path} cannot be read as the record of a run ({error}).") from None
    profile_dir = path.parents[1]
    places = {
        name: os.path.abspath(profile_dir / place)
        for name in _PLACES
        if (place := getattr(result, name))
    }
    return dataclasses.replace(result, **places)
