"""Steps of a compiled program are those of Keras, on either backend; a stopped training goes on."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT


@pytest.fixture(
    scope="module", params=["tensorflow", pytest.param("jax", marks=pytest.mark.extended)]
)
def found(request, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("stepwise")
    compiled = {"JAX_COMPILATION_CACHE_DIR": str(folder / "compiled")}  # by the first training
    done = subprocess.run(
        [sys.executable, "-m", "tests.trainer_modules.stepwise", str(folder)],
        cwd=ROOT,
        env={**os.environ, **compiled, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": request.param},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["backend"] == request.param
    return found


def test_many_steps_in_one_call_are_those_that_keras_does_one_by_one(found):
    """Weights, optimizer, averages and random generators; losses are means since the first."""
    many, single = found["compiled"], found["single"]
    assert [step for step, _ in many["told"]] == [20, 25]
    np.testing.assert_allclose(many["told"], single["told"], rtol=1e-4)
    assert len(many["values"]) == len(single["values"]) > 100
    for one, other in zip(many["values"], single["values"], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_a_stopped_training_goes_on_to_the_same_weights(found):
    assert found["resumed"]
