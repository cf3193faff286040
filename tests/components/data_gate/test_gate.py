"""The gate's judgement on the statistics of all 70,000 images, clean and corrupted."""

import re
from pathlib import Path

import numpy as np
import pytest

from components.data_gate import baseline as baseline_module
from components.data_gate import gate
from components.data_gate import schema as schemas
from components.idx_example_gen import data, encode
from tests.components.data_gate import corruption


@pytest.fixture(scope="module")
def pairs(mnist_dir: Path) -> dict[str, data.Pair]:
    return dict(data.read_data(str(mnist_dir)).splits)


@pytest.fixture(scope="module")
def schema(mnist_dir: Path):
    return schemas.without_image(schemas.read_schema(str(mnist_dir)))


@pytest.fixture(scope="module")
def known(mnist_dir: Path):
    return baseline_module.read_baseline(str(mnist_dir))


def statistics(pairs, schema, how=lambda images, labels: (images, labels), first=None, only=None):
    """Statistics as of a data directory whose files went through ``how``.

    The eval images are chosen before ``how``: otherwise blank images would leave eval empty, which
    has a test of its own.
    """
    result = {}
    for split, pair in pairs.items():
        images, labels = pair.images[:first], pair.labels[:first]
        if split == "train":
            is_eval = encode.choose_eval(images)
            parts = {"train": ~is_eval, "eval": is_eval}
        else:
            parts = {"test": np.ones(len(labels), bool)}
        for name, rows in parts.items():
            change = how if only in (None, split) else lambda images, labels: (images, labels)
            result[name] = baseline_module.compute_statistics(
                *change(images[rows], labels[rows]), schema
            )
    return result


def failed(checks: list[gate.Check]) -> list[str]:
    return [check.sentence for check in checks if not check.passed]


@pytest.fixture(scope="module")
def clean(pairs, schema):
    return statistics(pairs, schema)


def test_clean_mnist_passes_with_room_to_spare(clean, schema, known):
    checks = gate.inspect(clean, schema, known)
    assert failed(checks) == []
    gate.require_clean(checks)
    measured = [check for check in checks if check.kind in ("drift", "skew")]
    # Eight scalars and the label: drift of two splits, skew of two.
    assert len(measured) == 9 * 4
    assert max(check.value / check.limit for check in measured) < 0.3
    assert {check.value for check in measured if check.kind == "drift"} == {0.0}  # its own baseline


@pytest.mark.parametrize("first", [1000, 2000, 3000, 5000])
def test_first_images_of_clean_mnist_pass(pairs, schema, known, first):
    checks = gate.inspect(statistics(pairs, schema, first=first), schema, known, max_images=first)
    assert failed(checks) == []


def test_any_thousand_images_of_clean_mnist_pass(pairs, schema, known):
    rng = np.random.default_rng(0)
    for attempt in range(6):
        some = {}
        for split, pair in pairs.items():
            start = rng.integers(0, len(pair.labels) - 1000)
            rows = np.arange(start, start + 1000)
            if attempt % 2:
                rows = rng.choice(len(pair.labels), 1000, replace=False)
            some[split] = data.Pair(pair.images[rows], pair.labels[rows])
        assert failed(gate.inspect(statistics(some, schema), schema, known, max_images=1000)) == []


@pytest.mark.parametrize("first", [None, 1000], ids=["all", "first 1000"])
@pytest.mark.parametrize("how", corruption.EXPECTED, ids=lambda how: how.__name__)
def test_corruption_is_stopped_with_its_name_first(pairs, schema, known, how, first):
    checks = gate.inspect(statistics(pairs, schema, how, first), schema, known, max_images=first)
    with pytest.raises(gate.DataGateError) as error:
        gate.require_clean(checks)
    hints = [sentence for sentence in error.value.sentences if "?" in sentence]
    assert error.value.sentences[: len(hints)] == hints
    assert any(re.search(corruption.EXPECTED[how], sentence) for sentence in hints), hints


@pytest.mark.parametrize(
    "how", [corruption.invert, corruption.shift, corruption.double], ids=lambda how: how.__name__
)
def test_corruption_of_the_test_file_alone_is_skew_without_a_baseline(pairs, schema, how):
    sentences = failed(gate.inspect(statistics(pairs, schema, how, only="test"), schema))
    moved = [sentence for sentence in sentences if "moved from train" in sentence]
    assert moved and all(" in test: " in sentence for sentence in moved)


def test_limits_lie_well_between_clean_and_corrupted(pairs, schema, known):
    """The scalar that names each fault measures at least thrice its limit."""
    for how, name in (
        (corruption.invert, "mean_intensity"),
        (corruption.blank, "mean_intensity"),
        (corruption.shift, "center_x"),
        (corruption.double, "saturation"),
    ):
        checks = gate.inspect(statistics(pairs, schema, how, 2000), schema, known, max_images=2000)
        check = next(c for c in checks if (c.name, c.split, c.kind) == (name, "train", "drift"))
        assert check.value > 3 * check.limit


def test_mislabelled_classes_move_the_shares(pairs, schema, known):
    def call_nines_ones(images, labels):
        return images, np.where(labels == 9, 1, labels).astype(np.uint8)

    sentences = failed(gate.inspect(statistics(pairs, schema, call_nines_ones), schema, known))
    assert any("train has no image of class 9" in sentence for sentence in sentences)
    assert any(
        re.search(r"label in train: class shares moved .*class 1 makes 21\.\d%, was 11\.2%", s)
        for s in sentences
    )


def test_label_out_of_range_breaks_the_schema(pairs, schema, known):
    def add_one(images, labels):
        return images, labels + np.uint8(1)

    sentences = failed(gate.inspect(statistics(pairs, schema, add_one, 2000), schema, known))
    assert any(re.search("train breaks the schema: label: .*10", s) for s in sentences)


def test_classes_without_a_schema_of_their_own_must_be_contiguous(pairs, tmp_path):
    generic = schemas.without_image(schemas.read_schema(str(tmp_path)))
    sentences = failed(gate.inspect(statistics(pairs, generic, corruption.drop_class), generic))
    assert [s.split(";")[0] for s in sentences] == [
        f"{split} has no image of class 7" for split in ("train", "eval", "test")
    ]


def test_more_images_than_the_baseline_are_welcome(pairs, schema, clean, known):
    double_size = {
        split: data.Pair(*(np.concatenate([array, array]) for array in (p.images, p.labels)))
        for split, p in pairs.items()
    }
    assert failed(gate.inspect(statistics(double_size, schema), schema, known)) == []


def test_empty_split_is_told_and_the_others_still_judged(clean, schema, known, pairs):
    nothing = baseline_module.compute_statistics(
        pairs["test"].images[:1], pairs["test"].labels[:1], schema
    )
    nothing.datasets[0].num_examples = 0
    del nothing.datasets[0].features[:]
    sentences = failed(gate.inspect({**clean, "eval": nothing}, schema, known))
    assert sentences == [
        "eval holds no image: are all images of its file the same, blank for instance?"
    ]


def test_one_sentence_tells_of_all_splits():
    checks = [
        gate.Check("width", "train", "drift", 0.5, 0.2, False, "width in train: moved."),
        gate.Check("width", "test", "drift", 0.9, 0.2, False, "width in test: moved."),
        gate.Check("label", "train", "gaps", 1.0, 0.0, False, "train has no 7?"),
        gate.Check("height", "test", "drift", 0.1, 0.2, True, ""),
    ]
    with pytest.raises(gate.DataGateError, match="found 2 anomalies. Fix the data") as error:
        gate.require_clean(checks)
    assert error.value.sentences == [
        "train has no 7?",
        "width in test: moved. The same in train.",
    ]
