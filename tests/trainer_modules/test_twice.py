"""One trainer trains, evaluates and trains on, on either backend, with averaged weights."""

import json
import math
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

STEPS = {"diffusion": 4 + 16, "gan": 4 + 4}


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
@pytest.mark.parametrize("model", STEPS)
def test_a_trainer_trains_on_after_an_evaluation(model, backend):
    done = subprocess.run(
        [sys.executable, "-m", "tests.trainer_modules.twice", model],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["backend"] == backend
    assert found["averaged"] and found["changed"]
    assert found["steps"] == STEPS[model]
    assert all(math.isfinite(loss) for loss in found["losses"])
    if model == "diffusion":
        assert found["losses"][1] < found["losses"][0]
