"""The list of small faults: each can still be planted, and its tests are there."""

import ast
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = yaml.safe_load((ROOT / "tests" / "mutants.yaml").read_text())


def test_names_differ_and_there_are_enough_of_every_part():
    names = [mutant["name"] for mutant in MUTANTS]
    assert len(set(names)) == len(names) >= 60
    parts = {mutant["file"].split("/")[0] for mutant in MUTANTS}
    assert {"trainer_modules", "components", "pipeline", "serving"} <= parts


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant["name"])
def test_the_fault_is_in_one_place_and_its_tests_exist(mutant):
    text = (ROOT / mutant["file"]).read_text()
    assert text.count(mutant["old"]) == 1
    ast.parse(text.replace(mutant["old"], mutant["new"]))
    assert mutant["tests"]
    for test in mutant["tests"]:
        path, _, function = test.partition("[")[0].partition("::")
        tree = ast.parse((ROOT / path).read_text())
        found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not function or function in found, test
