"""What a benchmark sets of the environment: nothing at import, oneDNN where TensorFlow follows."""

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import benchmarks

ROOT = Path(__file__).parents[2]
VARIABLE = "TF_ENABLE_ONEDNN_OPTS"
# Runs a module as `python -m` does and says what the variable was when Keras or TensorFlow came.
SPY = """
import builtins, os, runpy, sys

class Spy:
    def find_spec(self, name, path=None, target=None):
        if name in ("keras", "tensorflow"):
            print("imported with", os.environ.get("TF_ENABLE_ONEDNN_OPTS"))
            os._exit(0)

sys.stdout.reconfigure(line_buffering=True)
sys.meta_path.insert(0, Spy())
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def run(*command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_benchmarks_changes_no_variable_of_ours():
    names = [f"benchmarks.{module.name}" for module in pkgutil.iter_modules(benchmarks.__path__)]
    assert len(names) > 10
    words = f"import os, {', '.join(names)}; print(os.environ.get({VARIABLE!r}))"
    assert run("-c", words).strip() == "None"


@pytest.mark.parametrize("name", ["ablation", "quality", "train_gpu", "train_speed"])
def test_a_benchmark_turns_onednn_on_before_tensorflow_is_imported(name):
    assert run("-c", SPY, f"benchmarks.{name}").strip() == "imported with 1"
