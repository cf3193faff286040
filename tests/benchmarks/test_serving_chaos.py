"""Half a minute of chaos, and that the benchmark sees what it is to see."""

import re

import pytest

from benchmarks import serving_chaos
from benchmarks.serving_chaos import Tally


def test_nobody_notices_faults_swaps_and_hostile_clients(capsys):
    code = serving_chaos.main(["--seconds", "30", "--seed", "7"])
    text = capsys.readouterr()
    assert code == 0, text.err + text.out
    rows = dict(re.findall(r"^(.*?)  +([\d,.]+)$", text.out, re.MULTILINE))
    assert rows["failures not asked for"] == rows["wrong answers"] == "0"
    counted = ("good requests", "bad requests", "half requests and idle connections")
    assert all(int(rows[name].replace(",", "")) > 20 for name in counted)
    assert int(rows["faults and swaps"]) >= 3 and text.out.endswith("It held.\n")


@pytest.mark.parametrize("what", ["failure", "wrong", "memory"])
def test_any_trouble_fails_the_run(what, capsys):
    tally = Tally()
    assert serving_chaos._report(tally, 1.0, 500.0, 500.0) == 0
    if what == "failure":
        tally.failed("503")
    if what == "wrong":
        tally.answered_wrongly("version 3")
    grown = 400.0 if what == "memory" else 0.0
    assert serving_chaos._report(tally, 1.0, 500.0, 500.0 + grown) == 1
    text = capsys.readouterr()
    assert "It did not hold." in text.out
    assert text.err.count("503") + text.err.count("version 3") == (what != "memory")
