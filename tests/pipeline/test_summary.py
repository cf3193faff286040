from __future__ import annotations

import dataclasses
import datetime
import io
import json

import pytest
from rich.console import Console

from pipeline.results import (
    Failure,
    GateResult,
    ModelResult,
    NodeResult,
    RunResult,
    load_results,
    save_result,
)
from pipeline.summary import models_table, print_summary, runs_table, served_versions
from serving.releases import Release

GATE = GateResult("Fréchet distance", True, 4.5678, 10.0, "max", "4.568 is at most 10.")
PUSHED = ModelResult("gan", [GATE], True, True, "", True, "18", "/serving/gan/18")


def result(*models: ModelResult, failure: Failure | None = None) -> RunResult:
    return RunResult(
        run_id="20260821-101500",
        profile="quick",
        started="2026-08-21T10:15:00+00:00",
        seconds=725.4,
        nodes=[NodeResult("gan", "done", 61.25), NodeResult("report", "cached", 0.04)],
        models=list(models),
        report="/out/report/index.html",
        log="/out/logs/x.log",
        failure=failure,
    )


def printed(*renderables) -> str:
    console = Console(file=io.StringIO(), width=200)
    for renderable in renderables:
        console.print(renderable)
    return console.file.getvalue()


def summary(run: RunResult) -> list[str]:
    console = Console(file=io.StringIO(), width=200)
    print_summary(run, console)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_nodes_are_listed_with_state_and_seconds():
    lines = summary(result(PUSHED))
    assert ["gan", "done", "61.2"] in [line.split() for line in lines]
    assert ["report", "cached", "0.0"] in [line.split() for line in lines]
    assert ["all", "725.4"] in [line.split() for line in lines]


def test_the_last_line_is_the_path_of_the_report():
    assert summary(result(PUSHED))[-1] == "/out/report/index.html"


def test_gates_are_listed_with_value_threshold_and_verdict():
    [line] = [line for line in summary(result(PUSHED)) if line.startswith("Fréchet")]
    assert line.split("  ")[-1] == "passed"
    assert "4.568" in line and "≤ 10" in line


def test_a_gate_shows_its_interval_and_the_stricter_of_threshold_and_champions_limit():
    gate = dataclasses.replace(GATE, value=4.5678, interval=(4.2, 5.0), limit=5.3)
    assert _gate_lines(gate)[0].split()[-6:] == ["4.57", "±", "0.40", "≤", "5.3", "passed"]


def test_a_figure_that_holds_the_threshold_but_not_the_champions_limit_is_worse():
    gate = dataclasses.replace(GATE, passed=False, limit=4.0)
    assert _gate_lines(gate)[0].split()[-3:] == ["≤", "4", "worse"]
    assert _gate_lines(dataclasses.replace(gate, value=11.0))[0].endswith("failed")
    missing = dataclasses.replace(gate, value=None, limit=None)
    assert _gate_lines(missing)[0].split()[-4:] == ["missing", "≤", "10", "failed"]


def test_intervals_make_the_closing_table_no_wider_than_it_was_in_words():
    gate = dataclasses.replace(GATE, value=12.3456, interval=(11.1, 13.2), limit=12.9)
    words = len("value") + 2 + len("at most 10.25")
    shown = _gate_lines(gate)[0]
    assert len(shown) - len("Fréchet distance") - len("passed") - 4 <= words


def _gate_lines(gate) -> list[str]:
    model = dataclasses.replace(PUSHED, gates=[gate])
    return [line for line in summary(result(model)) if line.startswith("Fréchet")]


def test_a_pushed_model_is_named_with_version_and_place():
    run = result(PUSHED)
    assert run.exit_code == 0
    assert "gan: approved, version 18 in /serving/gan/18" in summary(run)


def test_a_rejected_model_is_named_with_the_failed_gates_sentence():
    failed = dataclasses.replace(GATE, passed=False, sentence="4.568 is above 2.")
    run = result(dataclasses.replace(PUSHED, gates=[GATE, failed], blessed=False, pushed=False))
    assert run.exit_code == 3
    lines = summary(run)
    assert "gan: not approved. 4.568 is above 2." in lines
    assert "Done in 12 min 05 s; not pushed: gan." in lines


def test_a_model_that_fails_the_serving_check_says_so():
    model = dataclasses.replace(
        PUSHED, infra_blessed=False, infra_reason="decode differs by 0.2.", pushed=False
    )
    run = result(model)
    assert run.exit_code == 3
    assert "gan: not pushed, it fails the serving check. decode differs by 0.2." in summary(run)


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("input", 2, "Stopped at data-gate after 12 min 05 s: Give two classes."),
        ("crash", 1, "Node data-gate failed: Give two classes.; the log is /out/logs/x.log"),
        ("interrupt", 130, "Interrupted at data-gate after 12 min 05 s. Run the same command"),
    ],
)
def test_a_run_that_ended_early_says_where_and_how_to_go_on(kind, code, words):
    run = result(failure=Failure(kind, "data-gate", "Give two classes."))
    assert run.exit_code == code
    assert any(line.startswith(words) for line in summary(run))


def test_runs_are_saved_read_and_listed_in_order(tmp_path):
    first = result(PUSHED)
    second = dataclasses.replace(
        first, run_id="20260822-090000", failure=Failure("crash", "gan", "x")
    )
    for run in (second, first):
        save_result(run, {"profile": "quick"}, tmp_path / "quick")
    assert load_results(tmp_path) == [first, second]
    lines = printed(runs_table(load_results(tmp_path))).splitlines()
    assert lines[1].split()[:6] == ["20260821-101500", "quick", "12", "min", "05", "s"]
    assert lines[1].split()[6:] == ["pushed", "1", "1", "gan", "18"]
    assert "crashed" in lines[2]


def make_version(serving, model: str, version: str, metrics: dict | None) -> None:
    folder = serving / model / version
    (folder / "assets.extra").mkdir(parents=True)
    if metrics is not None:
        (folder / "assets.extra" / "metrics.json").write_text(json.dumps(metrics))


def test_served_versions_are_in_numeric_order_and_the_newest_is_marked(tmp_path):
    gate = {"metric": "frechet_distance", "title": "FD", "value": 4.5678}
    make_version(tmp_path, "gan", "9", {"blessed": True, "gates": [gate]})
    make_version(tmp_path, "gan", "10", None)
    (tmp_path / "gan" / "staging-11").mkdir()
    found = served_versions(tmp_path)
    assert [(v.version, v.is_newest) for v in found] == [("9", False), ("10", True)]
    assert (found[0].figure, found[0].verdict) == ("FD 4.568", "approved")
    assert (found[1].figure, found[1].verdict) == ("unknown", "unknown")
    assert found[1].pushed.startswith("20")
    assert printed(models_table(found, {}, {})).splitlines()[2].split()[-1] == "newest"


def test_labels_and_states_stand_beside_their_versions(tmp_path):
    for version in ("9", "10"):
        make_version(tmp_path, "gan", version, None)
    releases = {"gan": Release(stable=9, canary=10)}
    states = {("gan", 9): "AVAILABLE", ("gan", 10): "LOADING"}
    lines = printed(models_table(served_versions(tmp_path), releases, states)).splitlines()
    assert lines[1].split()[-2:] == ["stable", "AVAILABLE"]
    assert lines[2].split()[-2:] == ["canary", "LOADING"]


def test_the_time_of_a_push_comes_from_its_lineage(tmp_path):
    make_version(tmp_path, "gan", "9", None)
    lineage = {"pushed_at": "2026-08-21T12:00:00+00:00"}
    (tmp_path / "gan/9/assets.extra/lineage.json").write_text(json.dumps(lineage))
    [version] = served_versions(tmp_path)
    moment = datetime.datetime.fromisoformat(lineage["pushed_at"]).astimezone()
    assert version.pushed == moment.strftime("%Y-%m-%d %H:%M")


def test_an_empty_serving_directory_has_no_versions(tmp_path):
    assert served_versions(tmp_path / "nowhere") == []
