"""A fourth model: new files and one row of the table, in a copy of the tree.

The VAE of ``tests/vae`` is found wherever models are. It trains for a few steps, is measured and
pushed in a copy whose table has no other model, as training those again would prove nothing.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.e2e.workplace import environment

pytestmark = [pytest.mark.slow, pytest.mark.extended, pytest.mark.timeout(1800)]

ROW = """    ModelKind(
        name="vae",
        short="vae",
        stages=(Stage("vae", "vae", "tests.vae.config.VaeConfig", "tests.vae.train.run_fn"),),
        measurements=("reconstruction", *_GENERATED),
        primary="fd_over_floor",
        score="anomaly_score",
        words="tests.vae.words.WORDS",
    ),
"""
GATES = [
    {"metric": "reconstruction_mse", "direction": "max", "threshold": 1.0},
    {"metric": "frechet_distance", "direction": "max", "threshold": 1e6},
]
NODES = ("vae", "evaluate-vae", "serving-check-vae", "push-vae")
TINY = (
    *("data.max_images=1000", "judge.epochs=1", "vae.epochs=10", "vae.batch_size=32"),
    *("evaluator.samples=64", "evaluator.pair_images=64", "evaluator.memorisation_images=16"),
    *("evaluator.bootstrap_replicates=10", "evaluator.distance_replicates=4"),
)


class Tree:
    """A copy of the packages with the row, and a place for what it makes."""

    def __init__(self, folder: Path, alone: bool = False):
        self.folder, self.serving = folder, folder / "serving"
        for package in ("core", "serving", "trainer_modules", "components", "pipeline"):
            shutil.copytree(ROOT / package, folder / "code" / package, symlinks=True)
        shutil.copytree(ROOT / "tests" / "vae", folder / "code" / "tests" / "vae")
        (folder / "code" / "tests" / "__init__.py").touch()
        self._edit("core/models.py", "    ),\n)\n\nMODELS", f"    ),\n{ROW})\n\nMODELS")
        profile = folder / "code" / "pipeline" / "profiles" / "smoke.yaml"
        settings = yaml.safe_load(profile.read_text())
        settings["evaluator"]["gates"]["vae"] = GATES
        if alone:
            self._edit("core/models.py", "for kind in _ROWS}", "for kind in _ROWS[-1:]}")
            settings = {key: settings[key] for key in ("serving_dir", "data", "judge", "evaluator")}
            settings["evaluator"]["gates"] = {"vae": GATES}
        profile.write_text(yaml.safe_dump(settings))

    def _edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / "code" / name
        text = path.read_text()
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))

    def inkwell(self, *arguments: object) -> subprocess.CompletedProcess:
        code = self.folder / "code"
        return subprocess.run(
            [sys.executable, "-m", "pipeline.cli.main", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=code,
            env={**environment(), "PYTHONPATH": str(code)},
        )


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Tree:
    return Tree(tmp_path_factory.mktemp("fourth"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Tree:
    return Tree(tmp_path_factory.mktemp("alone"), alone=True)


@pytest.fixture(scope="module")
def result(alone, mnist_dir) -> dict:
    settings = [word for setting in TINY for word in ("--set", setting)]
    done = alone.inkwell(
        *("run", "--profile", "smoke", "--data", mnist_dir, "--output", alone.folder / "out"),
        *("--set", f"serving_dir={alone.serving}", *settings),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = (alone.folder / "out" / "smoke" / "runs").glob("*.json")
    return json.loads(path.read_text())["result"]


def test_the_plan_has_its_nodes_and_settings(tree):
    done = tree.inkwell("run", "--profile", "smoke", "--dry-run", "--set", "vae.units=32")
    assert done.returncode == 0, done.stderr
    assert "  units: 32\n" in done.stdout
    assert all(node_id in done.stdout for node_id in NODES)


def test_the_compiled_package_treats_its_nodes_as_those_of_other_models(tree):
    package = tree.folder / "package.yaml"
    done = tree.inkwell("compile", "-o", package, "--profile", "smoke")
    assert done.returncode == 0, done.stderr
    spec, platform = yaml.safe_load_all(package.read_text())
    tasks = spec["root"]["dag"]["tasks"]
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    others = ("gan", "evaluate-gan", "serving-check-gan", "push-gan")
    assert "evaluate-vae,serving-check-vae" in package.read_text()  # one task
    for mine, other in zip(NODES, others, strict=True):
        if mine == "serving-check-vae":
            continue
        assert tasks[mine]["cachingOptions"] == tasks[other]["cachingOptions"]
        assert set(tasks[mine]["inputs"]["parameters"]) == set(tasks[other]["inputs"]["parameters"])
        assert executors[f"{mine}_executor"] == executors[f"{other}_executor"]


def test_it_is_trained_measured_and_pushed(result, alone):
    states = {node["id"]: node["state"] for node in result["nodes"]}
    assert {states[node_id] for node_id in NODES} == {"done"}
    [model] = [model for model in result["models"] if model["name"] == "vae"]
    assert model["blessed"] and model["infra_blessed"] and model["pushed"]
    assert len(model["gates"]) == len(GATES)
    [version] = os.listdir(alone.serving / "vae")
    extra = alone.serving / "vae" / version / "assets.extra"
    figures = json.loads((extra / "metrics.json").read_text())["figures"]
    values = {figure["name"]: figure["value"] for figure in figures}
    assert 0 < values["reconstruction_mse"] < 0.12 and values["kid"] is not None
    assert "VAE" in (extra / "model_card.md").read_text()


def test_the_report_and_the_list_of_models_show_it(result, alone):
    page = (alone.folder / "out" / "smoke" / result["report"]).read_text()
    assert "Compresses a digit to a short code and generates digits from random codes" in page
    done = alone.inkwell("models", "--serving", alone.serving)
    assert done.returncode == 0, done.stderr
    assert "vae" in done.stdout


def test_a_canary_of_it_is_scored_by_the_signature_of_its_row(tree):
    code = "from serving.canary import _SCORES, MODELS; print(_SCORES[MODELS['vae'].score][0])"
    env = {**environment(), "PYTHONPATH": str(tree.folder / "code")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=tree.folder
    )
    assert done.stdout.strip() == "anomaly score", done.stderr
