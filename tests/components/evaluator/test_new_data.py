"""New data through the champion: like data gives no warning, other data does."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from components.evaluator.measurement import Standard, run_parts
from components.evaluator.parts import new_data
from components.evaluator.references import References
from serving.versions import DATA_RECORD_FILE, extra_file

CHANGES = {
    "inverted": lambda images: 1 - images,
    "moved": lambda images: np.roll(images, 3, axis=2),
    "faint": lambda images: images / 2,
}


@pytest.fixture(scope="module")
def halves(data):
    """Twenty random halves of the test images, which no model has seen, with their others."""
    rng = np.random.default_rng(3)
    orders = [rng.permutation(len(data.test_images)) for _ in range(20)]
    return [[data.test_images[part] for part in np.split(order, 2)] for order in orders]


@pytest.fixture
def through(data, judge_uri, autoencoder_uri, load, small):
    """``through(then, now)``: evaluates a model on ``now`` whose champion was made with ``then``.

    Without ``then`` the champion is of an earlier release.
    """
    model = load("autoencoder", autoencoder_uri())
    judge = load("judge", judge_uri)
    record = extra_file(Path(model.path), DATA_RECORD_FILE)
    record.parent.mkdir(exist_ok=True)

    def references(images: np.ndarray) -> References:
        return References(dataclasses.replace(data, held_out_images=images), judge, small)

    def run(then: np.ndarray | None, now: np.ndarray):
        record.unlink(missing_ok=True)
        if then is not None:
            documents = new_data.measure(model, references(then), "", True).documents
            record.write_text(json.dumps(documents[DATA_RECORD_FILE]))
        standards = [Standard("the champion", model)]
        return run_parts(new_data.parts(small), model, references(now), small, standards)

    yield run
    record.unlink(missing_ok=True)


def test_the_same_data_is_the_same_to_the_last_digit(through, data):
    found = through(data.held_out_images, data.held_out_images)
    assert found.notes == []
    errors, shares = found.tables
    assert all(then == now for _, then, now in [*errors.rows, *shares.rows])
    assert sum(then for _, then, _ in shares.rows) == pytest.approx(100, abs=0.6)
    assert "distance is 0; sampling" in shares.title
    assert {table.topic for table in found.tables} == {"drift"}


def test_other_images_of_the_same_kind_give_no_warning(through, halves):
    assert [through(then, now).notes for then, now in halves] == [[]] * 20


@pytest.mark.parametrize("name", CHANGES)
def test_data_of_another_kind_give_a_warning(through, data, name):
    found = through(data.held_out_images, CHANGES[name](data.held_out_images))
    assert "mean reconstruction error was" in " ".join(found.notes), found.notes
    assert all("the champion, version" in note for note in found.notes)


def test_half_of_the_classes_fall_into_other_clusters(through, data):
    then, low = data.test_images, data.test_labels < 5
    [*_, note] = through(then[:250], then[250:][low[250:]]).notes
    assert "fall into other clusters" in note


def test_a_champion_without_a_record_is_no_failure(through, data):
    found = through(None, data.held_out_images)
    assert found.notes == [] and found.tables == []
    assert set(found.documents) == {DATA_RECORD_FILE}


@pytest.mark.parametrize("text", ["", "[]", '{"mean": 1}', "\udcff"])
def test_a_record_that_cannot_be_read_is_none(through, data, monkeypatch, text):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
    assert through(data.held_out_images, data.held_out_images).tables == []


def test_a_record_of_nothing_is_refused(through, data):
    found = through(data.held_out_images, data.held_out_images).documents[DATA_RECORD_FILE]
    with pytest.raises(ValueError, match="not one of held-out images"):
        new_data.DataRecord(**found | {"counts": (0,) * len(found["counts"])})


def test_the_chance_of_sampling_shrinks_with_more_images(through, data):
    found = through(data.held_out_images, data.held_out_images).documents[DATA_RECORD_FILE]
    few = new_data.DataRecord(**found)
    many = dataclasses.replace(few, counts=tuple(100 * n for n in few.counts))
    assert new_data.error_chance(many, many) == pytest.approx(new_data.error_chance(few, few) / 10)
    small, large = (new_data.shares_chance(one, one, 1) for one in (many, few))
    assert small == pytest.approx(large / 10, rel=0.1)
