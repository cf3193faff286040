"""The data nodes together, as a run has them: clean data goes through, corrupted data ends it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from components.data_gate import gate
from components.data_gate.content import digests, digests_if_readable
from components.idx_example_gen import data
from components.idx_example_gen.config import DataConfig
from core.config import InputError
from tests.components.data_gate import corruption
from tests.components.idx_example_gen.local_run import newest, run_nodes

MAX_IMAGES = 1500


def run(root: Path, data_dir: Path, allow: tuple[str, ...] = ()) -> None:
    """ExampleGen to Transform on the first images of each file."""
    from tfx.components.example_validator.component import ExampleValidator
    from tfx.components.statistics_gen.component import StatisticsGen

    from components.data_gate.component import DataGate, make_schema
    from components.idx_example_gen.component import make_example_gen
    from components.transform.component import make_transform

    content = digests_if_readable(str(data_dir))
    example_gen = make_example_gen(str(data_dir), DataConfig(MAX_IMAGES), content["example-gen"])
    schema_node = make_schema(str(data_dir), content["schema"])
    examples, schema = example_gen.outputs["examples"], schema_node.outputs["schema"]
    statistics_gen = StatisticsGen(examples=examples, schema=schema).with_id("statistics-gen")
    statistics = statistics_gen.outputs["statistics"]
    validator = ExampleValidator(statistics=statistics, schema=schema).with_id("example-validator")
    data_gate = DataGate(
        statistics=statistics,
        schema=schema,
        baseline=schema_node.outputs["baseline"],
        example_anomalies=validator.outputs["anomalies"],
        examples=examples,
        max_images=MAX_IMAGES,
        allow=",".join(allow),
    ).with_id("data-gate")
    transform = make_transform(examples, schema)
    transform.add_upstream_node(data_gate)
    run_nodes(root, [example_gen, schema_node, statistics_gen, validator, data_gate, transform])


@pytest.fixture(scope="module")
def clean_root(tmp_path_factory, mnist_dir: Path) -> Path:
    root = tmp_path_factory.mktemp("clean")
    run(root, mnist_dir)
    return root


@pytest.fixture
def copied(mnist_dir: Path, tmp_path: Path) -> Path:
    """A copy of MNIST's directory, schema and baseline included."""
    return Path(shutil.copytree(mnist_dir, tmp_path / "data"))


def findings(root: Path) -> dict:
    return json.loads((newest(root, "data-gate", "findings") / "anomalies.json").read_text())


def test_clean_data_passes_and_every_check_is_on_record(clean_root: Path):
    found = findings(clean_root)
    assert found["passed"] and found["baseline"]
    kinds = [check["kind"] for check in found["checks"]]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "filled": 3, "count": 2, "gaps": 3, "drift": 18, "skew": 18, "schema": 3
    }  # fmt: skip
    assert all(check["passed"] and check["sentence"] == "" for check in found["checks"])
    assert all(np.isfinite([check["value"], check["limit"]]).all() for check in found["checks"])
    drift = {(c["name"], c["split"]): c["value"] for c in found["checks"] if c["kind"] == "drift"}
    assert {(h["column"], h["split"]): h["drift"] for h in found["histograms"]} == drift


def test_transform_after_the_gate_has_normalised_every_split(clean_root: Path, mnist_dir: Path):
    from core.digits import read_digits

    examples = newest(clean_root, "transform", "transformed_examples")
    splits = {
        split: read_digits([str(examples / f"Split-{split}" / "*")])
        for split in ("train", "eval", "test")
    }
    test = data.read_data(str(mnist_dir)).splits["test"]
    np.testing.assert_array_equal(splits["test"].labels, test.labels[:MAX_IMAGES])
    np.testing.assert_allclose(
        splits["test"].images[..., 0], test.images[:MAX_IMAGES] / 255, atol=1e-7
    )
    train = splits["train"]
    assert len(train.labels) + len(splits["eval"].labels) == MAX_IMAGES
    for digits in splits.values():  # the train split's figures, in all of them
        assert digits.pixel_mean == pytest.approx(train.images.mean(dtype=np.float64), rel=1e-5)
        assert digits.pixel_std == pytest.approx(train.images.std(dtype=np.float64), rel=1e-5)
        assert digits.num_classes == 10


def test_second_run_is_all_cached(clean_root: Path, mnist_dir: Path):
    before = sorted(path for path in clean_root.glob("*/*/*") if path.is_dir())
    run(clean_root, mnist_dir)
    assert sorted(path for path in clean_root.glob("*/*/*") if path.is_dir()) == before


@pytest.mark.parametrize("how", [corruption.shift, corruption.blank], ids=lambda how: how.__name__)
def test_corrupted_data_ends_the_run_before_transform(tmp_path: Path, copied: Path, how):
    corruption.corrupt_files(copied, how, first=MAX_IMAGES)
    root = tmp_path / "root"
    with pytest.raises(gate.DataGateError, match=corruption.EXPECTED[how]):
        run(root, copied)
    assert (root / "example-validator").exists() and not (root / "transform").exists()


def test_changed_schema_breaks_the_cache_and_rules(clean_root: Path, copied: Path):
    path = copied / "schema.pbtxt"
    text = path.read_text()
    assert "min_examples_count: 50" in text
    path.write_text(text.replace("min_examples_count: 50", "min_examples_count: 1200"))
    with pytest.raises(gate.DataGateError, match="breaks the schema: images: low num examples"):
        run(clean_root, copied)


def test_a_schema_replaced_after_the_plan_ends_the_run(tmp_path: Path, copied: Path):
    from components.data_gate.component import make_schema

    def planned():
        return make_schema(str(copied), digests(str(copied))["schema"])

    before, without_plan = planned(), make_schema(str(copied))
    with open(copied / "schema.pbtxt", "a") as file:
        file.write("# another one")
    with pytest.raises(InputError, match="changed after the run began"):
        run_nodes(tmp_path / "root", [before])
    run_nodes(tmp_path / "root", [without_plan])
    run_nodes(tmp_path / "root", [planned()])


def test_data_without_baseline_passes_and_says_so(tmp_path: Path, small_mnist_dir: Path, caplog):
    root = tmp_path / "root"
    with caplog.at_level("WARNING"):
        run(root, small_mnist_dir)
    assert "has no baseline.pbtxt, so drift is not measured" in caplog.text
    found = findings(root)
    assert found["passed"] and not found["baseline"]
    assert {check["kind"] for check in found["checks"]} == {"filled", "gaps", "skew", "schema"}


def test_what_is_wrong_with_the_images_ends_the_run_unless_it_is_known(
    tmp_path: Path, small_mnist_dir: Path
):
    data_dir = Path(shutil.copytree(small_mnist_dir, tmp_path / "data"))

    def blank_one(images, labels):
        images = images.copy()
        images[7] = 0
        return images, labels

    corruption.corrupt_files(data_dir, blank_one)
    with pytest.raises(gate.DataGateError, match="1 of 1,500 train images are blank: 7. Remove"):
        run(tmp_path / "root", data_dir)
    run(tmp_path / "root", data_dir, allow=("blank",))
    noted = [check for check in findings(tmp_path / "root")["checks"] if check["kind"] == "blank"]
    assert [(check["split"], check["passed"], check["value"]) for check in noted] == [
        ("train", True, 1), ("test", True, 1)
    ]  # fmt: skip


def test_names_of_the_classes_reach_those_who_show_them(tmp_path: Path, small_mnist_dir: Path):
    from core.digits import read_digits
    from core.statistics import read_statistics

    names = ("zero", "one", "two", "drei", "四", "<script>", "$6$", "7 up", "8", "nine")
    data_dir = Path(shutil.copytree(small_mnist_dir, tmp_path / "data"))
    (data_dir / "labels.txt").write_text("\n".join(names), encoding="utf-8")
    root = tmp_path / "root"
    run(root, data_dir)
    examples = newest(root, "transform", "transformed_examples")
    digits = read_digits([str(examples / "Split-test" / "*")])
    assert digits.names == names and len(digits.labels) == 600
    statistics = newest(root, "statistics-gen", "statistics")
    for split in read_statistics(str(statistics)):
        assert set(split.label_shares) == set(names)
        assert sum(split.label_shares.values()) == pytest.approx(100)


def test_data_without_names_has_none(clean_root: Path):
    from core.digits import read_digits

    examples = newest(clean_root, "transform", "transformed_examples")
    assert read_digits([str(examples / "Split-eval" / "*")]).names == ()
