"""Training on two replicas gives what training on one does; on two workers, both have it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from core.config import InputError, from_dict
from serving.model_server.starting import free_ports
from tests.conftest import ROOT
from tests.trainer_modules.distributed import RUNS
from trainer_modules.common import distribution
from trainer_modules.gan.config import GanConfig

pytestmark = pytest.mark.extended

MODELS = ("judge", "autoencoder", "finetune", "diffusion", "gan")
# It draws noise in the training step, and two replicas draw twice half as much of it.
RANDOM = "diffusion"


def start(kind: str, examples: str, folder, models, **variables: str) -> subprocess.Popen:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.trainer_modules.distributed"),
            *(kind, examples, str(folder), *models),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> dict:
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:] + output
    return json.loads(output.splitlines()[-1])


@pytest.fixture(scope="module")
def results(example_files, tmp_path_factory) -> dict[str, dict]:
    """What one device and two replicas make of every model."""
    mirrored = start("mirrored", example_files, tmp_path_factory.mktemp("mirrored"), MODELS)
    folder = tmp_path_factory.mktemp("none")  # one device needs no process of its own
    one = {model: RUNS[model]("none", example_files, folder) for model in MODELS}
    return {"none": one, "mirrored": finish(mirrored)}


@pytest.mark.parametrize("model", [model for model in MODELS if model != RANDOM])
def test_two_replicas_train_the_same_model_as_one_device(results, model):
    one, two = results["none"][model], results["mirrored"][model]
    np.testing.assert_allclose(two["weights"], one["weights"], rtol=1e-4, atol=1e-4)
    for name, value in one["losses"].items():
        assert two["losses"][name] == pytest.approx(value, rel=1e-3), name


def test_with_other_noise_the_losses_are_still_alike(results):
    one, two = results["none"][RANDOM], results["mirrored"][RANDOM]
    for name, value in one["losses"].items():
        assert two["losses"][name] == pytest.approx(value, rel=0.1), name
    assert two["weights"] != one["weights"]


def test_two_workers_train_the_same_model_and_the_first_exports_it(
    results, example_files, tmp_path
):
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    workers = []
    for i in range(2):
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": i}})
        folder = tmp_path / str(i)
        arguments = ("multi_worker", example_files, folder, ["judge", "autoencoder", "gan"])
        workers.append(start(*arguments, TF_CONFIG=config))
    chief, other = (finish(worker) for worker in workers)
    assert chief["judge"]["weights"] and other["judge"] == {}  # one exports, one does not
    for model in ("autoencoder", "gan"):
        assert other[model]["weights"] == chief[model]["weights"]
    # The GAN sees the images in the same order on one device; the others in one of their own.
    one = results["none"]
    np.testing.assert_allclose(chief["gan"]["weights"], one["gan"]["weights"], rtol=1e-4, atol=1e-4)
    for model in ("judge", "autoencoder"):
        for name in ("loss", "val_loss"):
            expected = one[model]["losses"][name]
            assert chief[model]["losses"][name] == pytest.approx(expected, rel=0.05)


def test_none_is_no_strategy_at_all():
    with distribution.scope("none", 7):
        assert distribution.replicas() == 1 and distribution.is_chief()
        assert distribution.share_of_mean(3.0) == 3.0
        assert distribution.whole_shares(7) == 7


def test_a_batch_that_cannot_be_shared_is_one_sentence(results):
    assert results["mirrored"]["refused"] == (
        "batch_size 33 cannot be divided among 2 replicas; make it a multiple of 2."
    )


def test_workers_must_be_named(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with (
        pytest.raises(InputError, match="needs the variable TF_CONFIG"),
        distribution.scope("multi_worker", 32),
    ):
        pass


def test_an_unknown_way_is_refused():
    with pytest.raises(InputError, match="distribution must be none, mirrored or multi_worker"):
        from_dict(GanConfig, {"distribution": "horovod"})
