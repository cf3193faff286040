import dataclasses
import datetime
import io
import json
import sys

import pytest
from rich.console import Console

from core.wording import FORM_ONLY
from pipeline.cli.run_tables import runs_table
from pipeline.results import (
    Failure,
    GateResult,
    ModelResult,
    NodeResult,
    RunResult,
    load_results,
    save_result,
)
from pipeline.terminal.tables import (
    ServedVersion,
    models_table,
    next_steps,
    print_summary,
    served_versions,
)
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


def test_a_model_whose_gates_judged_no_quality_is_marked():
    [line] = [
        line
        for line in summary(result(dataclasses.replace(PUSHED, quality_gates=False)))
        if line.startswith("gan: approved")
    ]
    assert line == f"gan: approved, version 18 in /serving/gan/18. {FORM_ONLY}"


def test_a_rejected_model_is_named_with_the_failed_gates_sentence():
    failed = dataclasses.replace(GATE, passed=False, sentence="4.568 is above 2.")
    run = result(dataclasses.replace(PUSHED, gates=[GATE, failed], blessed=False, pushed=False))
    assert run.exit_code == 3
    lines = summary(run)
    assert "gan: not approved. 4.568 is above 2." in lines
    assert "Done in 12 min 05 s; not pushed: gan (Fréchet distance 4.568, at most 10)." in lines


def test_a_model_that_fails_the_serving_check_says_so():
    model = dataclasses.replace(
        PUSHED, infra_blessed=False, infra_reason="decode differs by 0.2.", pushed=False
    )
    run = result(model)
    assert run.exit_code == 3
    lines = summary(run)
    assert "gan: not pushed, it fails the serving check. decode differs by 0.2." in lines
    assert "Done in 12 min 05 s; not pushed: gan (serving check: decode differs by 0.2)." in lines


def test_a_model_that_met_another_champion_says_so():
    words = "The model was compared with version 7, and clients get version 8 now."
    run = result(dataclasses.replace(PUSHED, pushed=False, refusal=words))
    lines = summary(run)
    assert run.exit_code == 3
    assert f"gan: not pushed. {words}" in lines
    assert f"Done in 12 min 05 s; not pushed: gan ({words[:-1]})." in lines


def test_a_pushed_version_that_is_not_whole_at_the_end_is_not_in_serving():
    gone = dataclasses.replace(PUSHED, problem="the directory is gone")
    run = result(dataclasses.replace(PUSHED, name="autoencoder"), gone)
    assert (run.exit_code, run.verdict) == (3, "not in serving")
    lines = summary(run)
    assert (
        "gan: approved, and not in serving. Version 18 in /serving/gan/18: the directory is gone. "
        "Remove what is left of it, and run the same command again to push it."
    ) in lines
    assert (
        "Done in 12 min 05 s; pushed: autoencoder; not in serving: gan (the directory is gone)."
    ) in lines
    other = dataclasses.replace(PUSHED, pushed=False)
    assert result(gone, other).verdict == "not approved"


def test_a_pushed_version_under_a_stable_one_is_not_said_to_be_in_serving():
    run = result(PUSHED, dataclasses.replace(PUSHED, name="diffusion", served="17"))
    assert run.exit_code == 0
    assert (
        "Done in 12 min 05 s; every model is approved and pushed; clients get version 17 of "
        "diffusion."
    ) in summary(run)
    assert "Done in 12 min 05 s; every model is approved and in serving." in summary(result(PUSHED))


def test_the_end_says_which_models_were_refused_by_which_gates():
    worse = GateResult("Precision", False, 0.8401, 0.7, "min", limit=0.957)
    gates = [
        worse,
        GateResult("Recall", False, None, 0.6, "min"),
        GateResult("KID", False, 3.0, 1.0, "max", limit=0.5),
        GateResult("FD", False, 30.0, 15.0, "max"),
        GATE,
    ]
    refused = {"blessed": False, "pushed": False}
    run = result(
        dataclasses.replace(PUSHED, name="autoencoder"),
        dataclasses.replace(PUSHED, name="diffusion", gates=gates, **refused),
        dataclasses.replace(PUSHED, gates=[worse], **refused),
    )
    assert summary(run)[-2] == (
        "Done in 12 min 05 s; pushed: autoencoder; not pushed: diffusion (Precision 0.8401, at "
        "least 0.957 next to the champion; Recall missing, at least 0.6; and 2 more), gan "
        "(Precision 0.8401, at least 0.957 next to the champion)."
    )


@pytest.mark.parametrize(
    ("pushed", "code"),
    [([True, True], 0), ([True, False], 3), ([False, False], 3), ([True, None], 3)],
)
def test_exit_code_is_0_only_if_every_model_was_pushed(pushed, code):
    assert result(*(ModelResult(str(i), pushed=p) for i, p in enumerate(pushed))).exit_code == code


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """``inkwell`` can be typed, as in an activated environment."""
    program = tmp_path / "bin" / "inkwell"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(program.parent))


def test_a_run_that_pushed_something_says_what_can_be_done_with_it(on_path):
    run = result(PUSHED, dataclasses.replace(PUSHED, name="diffusion", pushed=False))
    steps = next_steps(run, "outputs", "serving_models")
    assert steps == "See it: inkwell report --open    Try it: inkwell serve --playground"
    assert next_steps(run, "my runs", "out/smoke") == (
        "See it: inkwell report --output 'my runs' --open    "
        "Try it: inkwell serve --serving out/smoke --playground"
    )
    console = Console(file=io.StringIO(), width=200)
    print_summary(run, console, steps)
    assert console.file.getvalue().splitlines()[-2:] == [steps, "/out/report/index.html"]
    assert next_steps(result(dataclasses.replace(PUSHED, pushed=False)), "outputs", "s") == ""


@pytest.mark.parametrize(
    ("started", "here", "program"),
    [
        (".venv/bin/inkwell", "", ".venv/bin/inkwell"),
        ("{root}/.venv/bin/inkwell", "", ".venv/bin/inkwell"),
        ("{root}/.venv/bin/inkwell", ".venv/bin", "{root}/.venv/bin/inkwell"),
        ("./inkwell", ".venv/bin", "./inkwell"),
        ("{root}/pipeline/cli/main.py", "", "inkwell"),
    ],
)
def test_where_inkwell_is_not_on_path_its_own_path_is_named(
    tmp_path, monkeypatch, started, here, program
):
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / here)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [started.format(root=tmp_path), "run"])
    program = program.format(root=tmp_path)
    assert next_steps(result(PUSHED), "outputs", "serving_models") == (
        f"See it: {program} report --open    Try it: {program} serve --playground"
    )


def test_models_in_a_store_are_not_served_from_here(on_path):
    steps = next_steps(result(PUSHED), "outputs", "s3://models/serving")
    assert steps == "See it: inkwell report --open"


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


def test_a_blank_line_parts_the_tables_from_each_other_and_from_the_end():
    lines = summary(result(PUSHED))
    assert lines[lines.index("gan: approved, version 18 in /serving/gan/18") - 1] == ""
    [gates] = [i for i, line in enumerate(lines) if line.startswith("gates: gan")]
    assert lines[gates - 1] == "" and lines[-3] == ""


RUNS = [
    RunResult(
        run_id=run_id,
        profile="smoke",
        started="2026-08-21T10:15:00+00:00",
        seconds=seconds,
        nodes=[NodeResult(f"node{i}", state) for i, state in enumerate(["done", "cached"] * 11)],
        models=[
            dataclasses.replace(PUSHED, name=name, version=version)
            for name, version in (
                ("autoencoder", "1795691906"),
                ("diffusion", "1795691921"),
                ("gan", "1795691931"),
            )[:pushed]
        ]
        + [ModelResult("gan", pushed=False)] * (3 - pushed),
        report=None,
        log="/out/logs/x.log",
    )
    for run_id, seconds, pushed in (("20261126-101500", 725.4, 3), ("20261126-101500-2", 9.0, 1))
]


@pytest.mark.parametrize("width", [80, 100, 140])
def test_runs_are_listed_without_cutting_a_letter_at_any_width(width):
    lines = at(width, runs_table(RUNS))
    assert all(len(line) <= width for line in lines)
    words = [line.split() for line in lines]
    assert words[1][:6] == ["20261126-101500", "smoke", "12", "min", "05", "s"]
    assert any(line[:4] == ["20261126-101500-2", "smoke", "9.0", "s"] for line in words)
    text = " ".join(" ".join(line) for line in words)
    for version in ("autoencoder 1795691906", "diffusion 1795691921", "gan 1795691931"):
        assert version in text
    assert ("nodes run" in lines[0] and "cached" in lines[0]) == (width >= 100)
    assert len(lines) == (3 if width == 140 else 5)  # pushed models one below the other


@pytest.mark.parametrize(
    ("width", "left_out"),
    [(80, {"key metric"}), (140, set()), (60, {"key metric", "pushed"})],
)
def test_models_are_listed_without_cutting_a_letter_at_any_width(width, left_out):
    metric = "Reconstruction error as a multiple of PCA's 0.4139"
    found = [
        ServedVersion("autoencoder", "1795691906", "2026-11-26 10:15", metric, "approved", True)
    ]
    releases = {"autoencoder": Release(stable=1795691906)}
    states = {("autoencoder", 1795691906): "AVAILABLE"}
    [titles, line] = at(width, models_table(found, releases, states))
    cells = {
        "model": "autoencoder",
        "version": "1795691906",
        "pushed": "2026-11-26 10:15",
        "key metric": metric,
        "verdict": "approved",
        "label": "stable",
        "state": "AVAILABLE",
    }
    kept = {title: cell for title, cell in cells.items() if title not in left_out}
    assert titles.split() == " ".join(kept).split()
    assert line.split() == " ".join(kept.values()).split()


def at(width: int, table) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_old_records_with_a_failed_node_are_still_read(tmp_path):
    old = dataclasses.replace(
        result(), nodes=[NodeResult("gan", "failed", 1.0)], failure=Failure("interrupt", "gan", "x")
    )
    save_result(old, {}, tmp_path / "quick")
    assert load_results(tmp_path) == [old]


def test_an_interrupted_node_is_shown_as_such():
    interrupted = dataclasses.replace(result(), nodes=[NodeResult("gan", "interrupted", 4.0)])
    assert ["gan", "interrupted", "4.0"] in [line.split() for line in summary(interrupted)]


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
    assert (found[0].metric, found[0].verdict) == ("FD 4.568", "approved")
    assert (found[1].metric, found[1].verdict) == ("unknown", "unknown")
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
