import json

import pytest
from typer.testing import CliRunner

pytest.importorskip("ml_metadata")

from core.comparison import Change, Metric
from core.config import InputError
from pipeline.cli.main import app
from pipeline.cli.run_tables import _value
from pipeline.local import history
from pipeline.local.lineage import trace
from serving.errors import ServingError
from serving.releases import Release, apply
from tests.pipeline.records import Place, metric

FIRST, SECOND = "20260821-101500", "20260822-090000"


@pytest.fixture
def place(tmp_path) -> Place:
    """Two runs of the GAN that differ in settings, data, code and two of three metrics."""
    place = Place(tmp_path)
    gates = [{"metric": "fd", "threshold": 9.0, "reason": "as measured"}]
    place.read_data(FIRST, "a" * 64)
    place.measure(FIRST, "gan", metric("same", 1, 0, 2), metric("fd", 4.5, 4, 5))
    settings = {"gan": {"epochs": 8}, "evaluator": {"gates": {"gan": gates}}, "output_dir": "a"}
    place.record(FIRST, settings, commit="c1")
    place.read_data(SECOND, "b" * 64)
    place.measure(
        SECOND,
        "gan",
        metric("same", 1, 0, 2),
        metric("score", 8, 7, 9, "higher") | {"floor": 9.5},
        metric("fd", 3, 2, 3.5) | {"floor": 0.5},
    )
    gates = [{"metric": "fd", "threshold": 7.0, "reason": "measured again"}]
    settings = {"gan": {"epochs": 12}, "evaluator": {"gates": {"gan": gates}}, "output_dir": "b"}
    place.record(SECOND, settings, commit="c2", pushed=False, blessed=False, version="")
    return place


def inkwell(*arguments) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("name", "found"),
    [(FIRST, FIRST), ("20260821", FIRST), ("newest", SECOND), (SECOND, SECOND)],
)
def test_a_run_is_found_by_its_id_its_beginning_or_as_newest(place, name, found):
    assert history.find(place.output, name).result.run_id == found


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("2027", f"no run 2027 in .*; the runs there: {SECOND}, {FIRST} "),
        ("2026", f"2 runs in .* begin with 2026: {SECOND}, {FIRST} "),
        ("", f"no run .*; the runs there: {SECOND}"),
    ],
)
def test_a_name_that_is_not_one_run_is_told_with_those_that_there_are(place, name, words):
    with pytest.raises(InputError, match=words):
        history.find(place.output, name)


def test_an_id_that_begins_another_is_still_found(place):
    place.record(f"{SECOND}-2", {})
    assert history.find(place.output, SECOND).result.run_id == SECOND


def test_a_run_is_read_with_its_data_and_metrics_the_primary_first(place):
    run = history.find(place.output, FIRST)
    assert run.data["digest"] == "a" * 64 and run.origin["commit"] == "c1"
    assert list(run.metrics["gan"]) == ["fd", "same"]
    assert run.metrics["gan"]["fd"].interval == (4, 5)


def test_without_its_evaluation_a_run_has_the_metrics_of_its_gates(place):
    place.record("20260823-090000", {})
    [found] = history.find(place.output, "newest").metrics["gan"].values()
    assert (found.title, found.value, found.interval) == ("FD", 4.5, (4.0, 5.0))


def test_two_runs_differ_in_what_was_changed_and_in_nothing_else(place):
    found = history.compare(*(history.find(place.output, name) for name in (FIRST, SECOND)))
    threshold = "evaluator.gates.gan.fd.threshold"
    assert found.settings == {"gan.epochs": (8, 12), threshold: (9.0, 7.0)}
    assert found.data == {"digest": ("a" * 64, "b" * 64)}
    assert found.code == {"commit": ("c1", "c2")}
    assert found.verdicts == {"gan": ("pushed as 18", "not approved")}
    changes = {change.either.name: change.verdict for change in found.changes}
    assert changes == {"fd": "better", "score": ""} and found.same == {"gan": 1}


@pytest.mark.parametrize(
    ("second", "better", "verdict"),
    [
        ((3, 2, 3.9), "lower", "better"),
        ((3, 2, 3.9), "higher", "worse"),
        ((6, 5.1, 7), "lower", "worse"),
        ((6, 5.1, 7), "higher", "better"),
        ((6, 5, 7), "lower", "unclear"),
        ((4.6, 4.5, 4.7), "lower", "unclear"),
        ((6, 5.1, 7), "", ""),
    ],
)
def test_a_change_is_better_or_worse_only_where_the_intervals_do_not_meet(second, better, verdict):
    value, *ends = second
    pair = (
        Metric("fd", "FD", 4.5, (4, 5), better),
        Metric("fd", "FD", value, tuple(ends), better),
    )
    assert Change("gan", pair).verdict == verdict


def test_commands_print_the_same_as_json_for_programs(place):
    where = ("--output", place.output, "--json")
    listed = json.loads(inkwell("runs", *where)[1])
    assert [run["run_id"] for run in listed] == [FIRST, SECOND]
    assert [run["models"]["gan"]["version"] for run in listed] == ["18", None]
    shown = json.loads(inkwell("show", FIRST, *where)[1])
    assert shown["metrics"]["gan"]["fd"]["interval"] == [4, 5]
    assert (shown["commit"], shown["data"]["digest"]) == ("c1", "a" * 64)
    compared = json.loads(inkwell("diff", FIRST, SECOND, *where)[1])
    assert compared["settings"]["gan.epochs"] == [8, 12]
    assert compared["metrics"]["gan"]["fd"]["change"] == "better"
    assert [side["value"] for side in compared["metrics"]["gan"]["fd"]["runs"]] == [4.5, 3]


def test_a_person_sees_what_differs(place):
    code, text = inkwell("diff", FIRST, "newest", "--output", place.output)
    lines = [line.split() for line in text.splitlines()]
    assert code == 0
    assert ["gan.epochs", "8", "12"] in lines
    assert ["FD", "4.50", "±", "0.50", "3.00", "±", "0.75", "better"] in lines
    assert "The same value in both: 1 other metric of gan." in text
    code, text = inkwell("show", "newest", "--metrics", "--output", place.output)
    assert code == 0 and "c2" in text and "gan: not approved" in text
    lines = [line.split() for line in text.splitlines()]
    assert ["FD", "3.00", "±", "0.75", "floor", "0.5"] in lines
    assert ["SCORE", "8.0", "±", "1.0", "reference", "9.5"] in lines


def test_a_run_that_is_compared_with_itself_is_the_same(place):
    text = inkwell("diff", FIRST, FIRST, "--output", place.output)[1]
    assert "The same in both: settings, data, code." in text
    assert "The same value in both: every metric of gan." in text


@pytest.fixture
def pushed(place, tmp_path):
    """Version 17 and 18 of the GAN: the model of the first run, after its data."""
    [model] = place.execute(FIRST, "gan", {"model": {}}, reads=("pipeline/example-gen/examples/1",))
    lineage = {"model_uri": model, "run_id": FIRST, "commit": "c1", "packages": {"keras": "3.15.1"}}
    for number in ("17", "18"):
        version = tmp_path / "serving" / "gan" / number
        (version / "assets.extra").mkdir(parents=True)
        (version / "saved_model.pb").write_text("graph")
        lineage["data"] = {"digest": number * 32}
        lineage["settings"] = {"gan": {"epochs": 8}}
        (version / "assets.extra" / "lineage.json").write_text(json.dumps(lineage))
    apply(tmp_path / "serving", "gan", Release(stable=17))
    return tmp_path / "serving"


@pytest.mark.parametrize(
    ("name", "version"),
    [("gan", "17"), ("gan@stable", "17"), ("gan@newest", "18"), ("gan@18", "18")],
)
def test_a_version_is_named_by_number_or_label_and_is_the_served_one_without_a_name(
    place, pushed, name, version
):
    found = trace(name, pushed, place.output)
    assert (found.version, found.lineage["data"]["digest"]) == (version, version * 32)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gna", "the models there: gan"),
        ("gan@16", "no version 16 of gan in .*; the versions there: 17, 18, newest, stable"),
        ("gan@canary", "the versions there: 17, 18, newest, stable"),
        ("gan@", "the versions there"),
    ],
)
def test_a_version_that_is_not_there_is_told_with_those_that_are(place, pushed, name, words):
    with pytest.raises(ServingError, match=words):
        trace(name, pushed, place.output)


def test_a_lineage_goes_back_to_the_data_and_says_what_was_removed(place, pushed):
    found = trace("gan", pushed, place.output)
    examples, model = found.artifacts
    assert model.made_from == (examples.uri,) and model.present
    assert examples.uri.startswith("pipeline/example-gen/examples/") and examples.present
    (place.folder / model.uri).rename(place.folder / "away")
    code, text = inkwell("lineage", "gan", "--serving", pushed, "--output", place.output)
    assert code == 0 and f"{model.uri.removeprefix('pipeline/')} (removed)" in text
    assert "artifact in pipeline" in text
    for words in ("c1", "keras 3.15.1", "gan.epochs", "digest 171717171717"):
        assert words in text


def test_a_table_names_a_commit_by_its_beginning():
    commit = "8f46777dd85512fb63d64b8bd3b20e4b02ae2f40"
    assert _value(commit) == "8f46777dd855" and _value(f"{commit}-dirty") == "8f46777dd855-dirty"
    assert _value(commit + "1") == commit + "1"  # a digest


def test_a_lineage_without_its_run_names_what_the_version_itself_knows(place, pushed, tmp_path):
    (tmp_path / "none").mkdir()
    text = inkwell("lineage", "gan", "--serving", pushed, "--output", tmp_path / "none")[1]
    assert "\ngan/model/" in text and "nothing more is known" in text
    given = inkwell("lineage", "gan", "--serving", pushed, "--json", "--output", place.output)[1]
    assert json.loads(given)["artifacts"][1]["present"] is True


@pytest.mark.parametrize("command", [("show", "x"), ("diff", "x", "y")])
def test_where_there_are_no_runs_the_sentence_says_how_to_begin(tmp_path, command):
    code, text = inkwell(*command, "--output", tmp_path)
    assert code == 2 and "start one with: inkwell run" in text
