"""Data that grows: a new span is read, its training begins with the model in serving."""

import json
from pathlib import Path

import pytest

from benchmarks.faults.place import SETTINGS
from components.idx_example_gen import idx
from components.idx_example_gen.data import read_data
from tests.e2e.workplace import Workplace

pytestmark = [pytest.mark.extended, pytest.mark.timeout(1200)]


def deliver(folder: Path, mnist: Path, first: int) -> None:
    """A span of 2,000 train images from number ``first``, and 1,000 test images."""
    folder.mkdir(parents=True)
    for split, pair in read_data(str(mnist)).splits.items():
        rows = slice(first, first + 2000) if split == "train" else slice(0, 1000)
        for kind, array in (("images-idx3", pair.images), ("labels-idx1", pair.labels)):
            idx.write_idx(str(folder / f"{idx.FILE_PREFIX[split]}-{kind}-ubyte"), array[rows])


def test_new_span_begins_with_the_served_model(tmp_path: Path, mnist_dir: Path):
    place, data = Workplace(tmp_path), tmp_path / "data"
    sets = (*SETTINGS, "data.spans=1", "autoencoder.warm_start=true", "gan.warm_start=true")
    options = ["--data", str(data), *(word for s in sets for word in ("--set", s))]

    def losses() -> list[float]:
        newest = max((place.output / "smoke/pipeline/autoencoder/model").iterdir(), key=int_name)
        history = json.loads((newest / "history.json").read_text())
        assert (history.get("warm_start") or {}).get("version") == began
        return history["curves"]["val_loss"]

    def int_name(path: Path) -> int:
        return int(path.name)

    deliver(data / "span-1", mnist_dir, 0)
    began = None
    done = place.run(*options)
    assert done.returncode in (0, 3), done.stdout + done.stderr
    assert "Of 1 spans" in done.stdout.replace("\n", " ")
    fresh, first = losses(), place.versions()["autoencoder"]
    assert len(first) == 1

    deliver(data / "span-2", mnist_dir, 30000)
    [began] = first
    done = place.run(*options)
    assert done.returncode in (0, 3), done.stdout + done.stderr
    assert place.states()["example-gen"] == "done"
    assert losses()[0] < fresh[0]  # after one epoch

    done = place.run(*options)
    assert done.returncode in (0, 3), done.stdout + done.stderr
    assert place.states()["autoencoder"] == place.states()["gan"] == "cached"
