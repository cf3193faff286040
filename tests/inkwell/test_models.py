"""Pushed models as Python objects: the same answers as a server gives, and mistakes in words."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import inkwell
from serving.client import Client
from serving.errors import ServingError
from tests.serving.conftest import ROOT, serving_of
from tests.serving.toy_models import save_models


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_models(tmp_path_factory.mktemp("python"))


def test_answers_are_those_of_a_server(serving: Path):
    image = np.random.default_rng(0).random((3, 28, 28, 1), "float32")
    with serving_of(serving) as served:
        for name, call in {
            "autoencoder": lambda model: model.decode(model.encode(image)),
            "diffusion": lambda model: model.generate(4, seed=3, steps=5),
            "gan": lambda model: model.generate(4, seed=3),
        }.items():
            own = inkwell.load(name, serving_dir=serving)
            with Client(name, served.rest) as client:
                np.testing.assert_allclose(call(own), call(client), atol=1e-6)
                assert own.signatures() == client.signatures()
                assert own.version == client.version()


def test_shows_itself_in_a_notebook(serving: Path):
    page = inkwell.load("gan", serving_dir=serving)._repr_html_()
    assert page.startswith('<img alt="32 digits" src="data:image/png;base64,iVBOR')
    assert "<img" not in inkwell.load("autoencoder", serving_dir=serving)._repr_html_()


def test_mistakes_are_a_sentence(serving: Path, tmp_path: Path):
    with pytest.raises(ServingError, match="There is no version of gna .* autoencoder"):
        inkwell.load("gna", serving_dir=serving)
    with pytest.raises(ServingError, match="it holds no model"):
        inkwell.load("gan", serving_dir=tmp_path / "nowhere")
    with pytest.raises(ServingError, match="There is no version 7 of gan; the versions: 1"):
        inkwell.load("gan", version=7, serving_dir=serving)
    gan = inkwell.load("gan", serving_dir=serving)
    with pytest.raises(ServingError, match="has no signature encode; it has .*generate"):
        gan.encode(np.zeros((1, 28, 28, 1)))
    with pytest.raises(ServingError, match="takes count and seed, not count and seed and steps"):
        gan.generate(1, steps=5)


def test_damaged_version_is_not_loaded(serving: Path, tmp_path: Path):
    folder = save_models(tmp_path)
    (next((folder / "gan").iterdir()) / "saved_model.pb").unlink()
    with pytest.raises(ServingError, match="damaged: saved_model.pb is missing"):
        inkwell.load("gan", serving_dir=folder)


def test_import_is_light():
    code = "import sys, inkwell; print([m for m in ('tensorflow', 'tfx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
