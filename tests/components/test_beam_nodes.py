import pytest

pytest.importorskip("tfx")
from pathlib import Path

from tfx.types import standard_artifacts

from components.beam_nodes import (
    StatisticsGen,
    StatisticsGenExecutor,
    on_workers,
    require_files,
)
from core.config import InputError
from core.origin import DATA_PROPERTY


def statistics(folder: Path, *filled: str) -> dict:
    """An artifact with the splits train and eval, of which some hold a file."""
    artifact = standard_artifacts.ExampleStatistics()
    artifact.uri, artifact.split_names = str(folder), '["train", "eval"]'
    for split in ("train", "eval"):
        (folder / f"Split-{split}").mkdir(parents=True)
    for split in filled:
        (folder / f"Split-{split}" / "FeatureStats.pb").write_bytes(b"x")
    return {"statistics": [artifact]}


def test_a_split_without_a_file_ends_the_node(tmp_path):
    require_files(statistics(tmp_path / "whole", "train", "eval"))
    with pytest.raises(InputError, match=r"no file of the split eval of statistics.*storage"):
        require_files(statistics(tmp_path / "half", "train"))


def test_an_output_without_splits_must_hold_a_file(tmp_path):
    graph = standard_artifacts.TransformGraph()
    graph.uri = str(tmp_path)
    with pytest.raises(InputError, match="no file of the transform_graph in"):
        require_files({"transform_graph": [graph]})
    (tmp_path / "transform_fn").mkdir()
    (tmp_path / "transform_fn" / "saved_model.pb").write_bytes(b"x")
    require_files({"transform_graph": [graph]})


def test_workers_get_absolute_paths_and_the_metadata_keeps_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outputs = statistics(tmp_path / "out", "train", "eval")
    [artifact] = outputs["statistics"]
    artifact.uri = "out"
    seen = []
    on_workers(lambda self, inputs, outputs, properties: seen.append(artifact.uri))(
        None, {}, outputs, {}
    )
    assert (seen, artifact.uri) == ([str(tmp_path / "out")], "out")


def test_statistics_say_of_which_data_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(StatisticsGen, "Do", lambda self, *given: None)
    outputs = statistics(tmp_path, "train", "eval")
    examples = standard_artifacts.Examples()
    executor = object.__new__(StatisticsGenExecutor)
    executor.Do({"examples": [examples]}, outputs, {})
    [found] = outputs["statistics"]
    assert not found.has_custom_property(DATA_PROPERTY)
    examples.set_string_custom_property(DATA_PROPERTY, "a digest")
    executor.Do({"examples": [examples]}, outputs, {})
    assert found.get_string_custom_property(DATA_PROPERTY) == "a digest"


def test_a_node_whose_workers_wrote_elsewhere_fails(tmp_path):
    outputs = statistics(tmp_path / "out")
    with pytest.raises(InputError, match="no file of the split train"):
        on_workers(lambda self, *rest: None)(None, {}, outputs, {})
