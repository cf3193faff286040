"""Runs as Python objects: read from records, and started."""

from pathlib import Path

import pytest
import yaml

import inkwell
from benchmarks.faults.place import SETTINGS
from tests.pipeline.records import Place, metric


def test_past_runs_are_objects(tmp_path: Path):
    place = Place(tmp_path)
    place.record("20261126-080000", {})
    place.measure("20261127-080000", "gan", metric("fd", 2.5, 2.0, 3.0))
    place.record("20261127-080000", {})
    found = inkwell.runs(place.output)
    assert [run.id for run in found] == ["20261126-080000", "20261127-080000"]
    newest = inkwell.find(output=place.output)
    assert newest == found[-1] and newest.metrics["gan"]["fd"].value == 2.5
    assert newest.verdict in repr(newest)
    assert "FD: 2.5" in newest._repr_html_()
    changed = [change.either.name for change in found[0].diff(newest).changes]
    assert "fd" in changed


def test_mistakes_are_a_sentence(tmp_path: Path):
    with pytest.raises(inkwell.InputError, match="There are no runs in"):
        inkwell.find(output=tmp_path)
    with pytest.raises(inkwell.InputError, match=r"gan.epoch.*epochs"):
        inkwell.run("smoke", settings={"gan.epoch": 2}, output=tmp_path)
    with pytest.raises(inkwell.InputError, match="evaluate-gan"):
        inkwell.run("smoke", output=tmp_path, from_node="evaluate_gan")
    assert not list(tmp_path.iterdir())  # nothing was started


@pytest.mark.extended
def test_runs_and_gives_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    serving = str(tmp_path / "serving")
    small = {key: yaml.safe_load(value) for key, _, value in (s.partition("=") for s in SETTINGS)}
    settings = {**small, "data.max_images": 1000, "serving_dir": serving}
    run = inkwell.run("smoke", settings=settings, output=tmp_path / "out")
    assert "report" in capsys.readouterr().out
    assert run.verdict == "pushed" and run.report.is_file()
    assert run.metrics["gan"]["fd_over_floor"].value > 1
    assert inkwell.load("gan", serving_dir=serving).generate(3).shape == (3, 28, 28, 1)
