"""The table of accidents, and some of them done to a real run."""

import dataclasses
import os
import random
import subprocess
import sys

import pytest

pytest.importorskip("tfx")
from benchmarks.faults import injectors, table, trial
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
    assert done.returncode == 0, done.stdout + done.stderr
    number = len(table.accidents(ROWS, seed=1, is_quick=True))
    assert f"tried {number}  held {number}  lost 0" in done.stdout
