"""The list of small faults: each can still be planted, and its tests are there; its runner."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.mutants import NOT_RUN, NOTICED, SURVIVES, Mutant, read_mutants, run_tests

MUTANTS = read_mutants()


def test_names_differ_and_there_are_enough_of_every_part():
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names) >= 60
    parts = {mutant.file.split("/")[0] for mutant in MUTANTS}
    assert {"trainer_modules", "components", "pipeline", "serving"} <= parts


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_fault_is_in_one_place_and_its_tests_exist(mutant):
    text = (ROOT / mutant.file).read_text()
    assert text.count(mutant.old) == 1
    ast.parse(text.replace(mutant.old, mutant.new))
    assert mutant.tests
    for test in mutant.tests:
        path, _, function = test.partition("[")[0].partition("::")
        tree = ast.parse((ROOT / path).read_text())
        found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not function or function in found, test


def test_a_fault_is_noticed_survives_or_could_not_be_tested(tmp_path: Path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "code_of_tree.py").write_text("ANSWER = 42\n")
    (tree / "test_code.py").write_text(
        "import code_of_tree as code\n\n"
        "def test_answer(): assert code.ANSWER == 42\n\n"
        "def test_nothing(): assert code\n"
    )
    fault = Mutant("wrong", "code_of_tree.py", "42", "43", ("test_code.py::test_answer",))
    assert fault.apply(tree) == "ANSWER = 42\n"
    assert run_tests(tree, fault.tests, 60)[:2] == (NOTICED, "test_answer")
    assert run_tests(tree, ["test_code.py::test_nothing"], 60)[:2] == (SURVIVES, "")
    assert run_tests(tree, ["test_code.py::test_gone"], 60)[0] == NOT_RUN
    with pytest.raises(ValueError, match="wrong: its text is 0 times"):
        fault.apply(tree)
