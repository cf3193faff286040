"""The table of accidents, and some of them done to a real run."""

import dataclasses
import os
import random
import subprocess
import sys

import pytest

pytest.importorskip("tfx")
from benchmarks.faults import commands, injectors, table, trial
from benchmarks.faults.commands import Ended, How, Lost
from core.config import InputError
from pipeline.plan import NODES
from tests.conftest import ROOT

ROWS = table.read_table()


def test_every_row_names_an_injector_and_every_injector_is_used():
    assert {row.do for row in ROWS} <= set(injectors.INJECTORS)
    harms = {name.removesuffix(" data") for row in ROWS for name in [row.do]}
    assert {name.removesuffix(" data") for name in injectors.INJECTORS} == harms


def test_there_are_enough_accidents_and_three_kills_in_every_node():
    found = table.accidents(ROWS, seed=1)
    assert len(found) >= 150
    kills = [one.to for one in found if one.row.do == "kill in"]
    assert sorted(kills) == sorted(3 * list(NODES))
    assert len({one.seed for one in found}) == len(found)
    kinds = {one.row.kind for one in table.accidents(ROWS, seed=1, is_quick=True)}
    assert {"killed", "interrupted", "disk", "moved", "places", "hostile data"} <= kinds


def test_the_documentation_has_the_table():
    assert table.markdown(ROWS) in (ROOT / "docs" / "reliability.md").read_text()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"what": "a", "do": "flip", "first": "perhaps"}, "first is not one of"),
        ({"what": "a", "do": "flip", "quick": ["b"]}, "quick names what to does not"),
        ({"what": "a"}, "do"),
    ],
)
def test_a_malformed_row_is_refused(entry, words):
    with pytest.raises(InputError, match=words):
        table._row("kind", entry)


ROW = table.Row("kind", "what", "flip", first="refused", says="damaged", within=1.0)
GOOD = Ended(2, "", "inkwell: x is damaged.\n", 0.1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"code": 0}, "it ended with 0"),
        ({"code": None}, "it ended with None"),
        ({"err": "inkwell: x is bad.\n"}, "it did not say 'damaged'"),
        ({"err": "x is damaged.\n"}, "it did not give one sentence"),
        ({"err": "inkwell: x is damaged.\n" * 4}, "it did not give one sentence"),
        ({"err": f"{GOOD.err}Traceback (most recent call last):\n"}, "it printed 'Traceback"),
        ({"seconds": 1.5}, "it took 1.5 s"),
    ],
)
def test_a_verdict_can_fail(changes, words):
    trial._check(ROW, GOOD)
    with pytest.raises(Lost, match=words):
        trial._check(ROW, dataclasses.replace(GOOD, **changes))


def test_a_run_that_leaves_something_else_is_lost():
    class Place:
        def __init__(self, troubles):
            self.troubles = troubles

        def reset(self):
            pass

        def run(self, how=None):
            return Ended(0, "", "", 1.0)

        def trouble(self, output):
            return self.troubles

    row = table.Row("kind", "what", "settings")
    accident = table.Accident(row, "A=1", 1)
    assert trial.try_one(Place([]), accident) == ""
    assert trial.try_one(Place(["gan differs"]), accident) == "gan differs"


def test_all_kills_are_one_chain_and_other_accidents_stand_alone():
    jobs = trial.jobs(table.accidents(ROWS, seed=1))
    assert [len(job) for job in jobs[:2]] == [3 * len(NODES), 1]
    assert {one.row.do for one in jobs[0]} == {"kill in"}
    assert all(len(job) == 1 and job[0].row.do != "kill in" for job in jobs[1:])


def test_a_kill_must_hit_its_node_and_nothing_that_had_ended_runs_again():
    out = "[1/22] gan cached, 0.0 s\n[2/22] judge started\n"
    trial._check_ran(dataclasses.replace(GOOD, out=out), "judge", ["gan"])
    with pytest.raises(Lost, match="gan ran again"):
        trial._check_ran(
            dataclasses.replace(GOOD, out=out.replace("cached", "done")), "judge", ["gan"]
        )
    for missed in (out.replace("judge", "report"), out + "[2/22] judge done, 1.0 s\n"):
        with pytest.raises(Lost, match="the kill missed the node"):
            trial._check_ran(dataclasses.replace(GOOD, out=missed), "judge", ["gan"])


def test_a_child_that_fails_does_not_go_on_in_the_code_of_its_parent(tmp_path):
    def inside():
        raise KeyboardInterrupt

    commands.inkwell(["--version"], How(inside=inside), tmp_path)
    good = commands.inkwell(["--version"], How(), tmp_path)
    assert (good.code, good.err) == (0, "") and good.out.startswith("inkwell")
    bad = commands.inkwell(["run", "--profile", "nonsense"], How(), tmp_path)
    assert bad.code == 2 and bad.err.startswith("inkwell: There is no profile")
    new = commands.inkwell(["--version"], How(script='"$@"; exit 9'), tmp_path)
    assert new.code == 9 and new.out == good.out


def test_a_harm_changes_one_bit_and_not_the_time(tmp_path):
    path = tmp_path / "now" / "file"
    path.parent.mkdir()
    path.write_bytes(bytes(100))
    stamp = path.stat().st_mtime_ns

    class Place:
        now = path.parent

    with injectors.INJECTORS["flip"](Place, "*", random.Random(1)) as how:
        assert how == How()
    assert sum(byte.bit_count() for byte in path.read_bytes()) == 1
    assert path.stat().st_mtime_ns == stamp and path.stat().st_size == 100


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_some_accidents_of_each_kind_hold():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", "--part", "quick"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    told = done.stdout + done.stderr
    left_out = done.stdout.count("not tried, as nothing can be mounted here")
    held = len(table.accidents(ROWS, seed=1, is_quick=True)) - left_out
    assert f"tried {held}  held {held}  lost 0" in done.stdout, told
    assert done.returncode == (1 if left_out else 0), told
