"""The parts on generators whose quality is known: copies, one digit; pictures; deep parts."""

import dataclasses

import numpy as np
import pytest

from components.evaluator.catalogue import LABEL_SHARES
from components.evaluator.measurement import Measured, Part, run_parts
from components.evaluator.metrics.fid import load_inception, pool3_features
from components.evaluator.metrics.frechet import frechet_distance_of
from components.evaluator.parts import classifier, fid, generation, neighbours, steps
from components.evaluator.parts import latent_walk as latent_walk_part
from components.evaluator.parts import reverse_process as reverse_process_part
from components.evaluator.parts.latent_walk import latent_walk
from components.evaluator.parts.reverse_process import forward_process, reverse_process
from components.evaluator.references import References, read_eval_data
from components.evaluator.saved_model import DEEP_ONLY, NotFinite, NotRun, load_model
from core.artifacts import KERAS_DIR, SAVED_MODEL_DIR


@pytest.fixture(scope="module")
def references(data, judge_uri, load, small, yardsticks):
    return yardsticks(data, load("judge", judge_uri), small)


@pytest.fixture(scope="module")
def measured(gan_uri, load, references):
    """``measured(kind)``: figures, floors and replicates of every part that runs by default."""
    done = {}

    def measure(kind: str):
        if kind not in done:
            model, found = load("gan", gan_uri(kind)), []
            for module in (generation, neighbours, classifier):
                for part in module.parts(references.config):
                    if part.name != "augmentation":
                        found.append(part.measure(model, references, "", True))
                        assert [row.metric for row in found[-1].rows] == [
                            m.name for m in part.metrics
                        ]
            done[kind] = found
        return done[kind]

    return measure


def _by_metric(found, field):
    return {row.metric: getattr(row, field) for part in found for row in part.rows}


def test_copies_of_the_train_images_are_as_good_as_real_and_are_convicted_all_the_same(measured):
    found = measured("real")  # this generator hands out train images
    values, floors = _by_metric(found, "value"), _by_metric(found, "reference")
    for name in ("precision", "recall", "coverage", "synthetic_accuracy"):
        assert values[name] == pytest.approx(floors[name], abs=0.08)
    assert values["memorised_share"] > 0.9
    assert values["memorised_share_features"] > 0.9
    assert values["memorisation_p"] < 1e-6


def test_one_digit_again_and_again_has_no_variety(measured):
    values, floors = (_by_metric(measured("collapsed"), f) for f in ("value", "reference"))
    assert values["recall"] < 0.05 < 0.5 < floors["recall"]
    assert values["coverage"] < 0.1
    assert values["nearest_neighbour_accuracy"] > 0.95
    assert values["classifier_accuracy"] > 0.95
    assert values["synthetic_accuracy"] < 0.3
    assert values["kid"] > 20 * abs(floors["kid"])
    assert values["fd_infinity"] > 20 * floors["fd_infinity"]


def test_every_figure_has_a_floor_and_replicates_that_spread_around_it(measured):
    found = measured("real")
    values, floors = _by_metric(found, "value"), _by_metric(found, "reference")
    replicates = _by_metric(found, "replicates")
    assert None not in floors.values()
    without = {name for name, drawn in replicates.items() if drawn is None}
    assert without == {"fd_infinity", "memorisation_p"}
    for name in ("precision", "kid", "inception_score", "class_tv", "synthetic_accuracy"):
        assert 0 < replicates[name].std() < 0.2 * max(abs(values[name]), 1.0)


def test_real_train_images_are_hardly_told_from_test_images(measured):
    floors = _by_metric(measured("real"), "reference")
    # Not quite one half: other writers, and this judge knows its 2,400 train images by heart.
    assert 0.4 < floors["nearest_neighbour_accuracy"] < 0.7
    assert 0.35 < floors["classifier_accuracy"] < 0.65


def test_a_model_is_asked_once_for_all_parts_and_nan_is_not_asked_for_again(
    gan_uri, load, references
):
    model = load("gan", gan_uri("real"))
    assert references.sample(model) is references.sample(model)
    broken, failures = load("gan", gan_uri("broken")), []
    for _ in range(2):
        with pytest.raises(NotFinite) as failure:
            references.sample(broken)
        failures.append(failure.value)
    assert failures[0] is failures[1]


def test_an_evaluation_rests_on_the_generated_images_where_a_part_looks_at_them(
    gan_uri, load, data, judge_uri, small
):
    def look(model, references, stage, draw) -> Measured:
        assert len(references.sample(model).images) == 40
        return Measured()

    few, model = dataclasses.replace(small, samples=40), load("gan", gan_uri("real"))
    references = References(data, load("judge", judge_uri), few)
    for part, count in ((latent_walk_part.parts(few), 500), ([Part("x", "samples", (), look)], 40)):
        assert run_parts(part, model, references, few).samples == count


def test_held_out_images_are_read_from_the_eval_split(examples_uri, data):
    found = read_eval_data(examples_uri)
    assert found.held_out_images == pytest.approx(data.held_out_images, abs=1e-6)
    assert np.array_equal(found.train_labels, data.train_labels)


@pytest.mark.extended
def test_augmentation_is_measured_on_demand_with_the_labels_it_is_given(
    gan_uri, load, data, judge_uri, small, monkeypatch
):
    monkeypatch.setattr(classifier, "_DRAWS", 2)  # of three: each trains six networks
    judge, model = load("judge", judge_uri), load("gan", gan_uri("real"))
    part = classifier.parts(small)[-1]
    with pytest.raises(NotRun, match=DEEP_ONLY):
        part.measure(model, References(data, judge, small), "", True)
    few = dataclasses.replace(small, deep=True, samples=200)
    found = part.measure(model, References(data, judge, few), "", True)
    assert [row.metric for row in found.rows] == [metric.name for metric in part.metrics]
    plain = [row.reference for row in found.rows]
    assert plain == sorted(plain) and plain[-1] > plain[0] + 0.1  # more labels, more accuracy
    assert [row[1] for row in found.tables[0].rows] == [24 * share for share in LABEL_SHARES]


@pytest.mark.extended
def test_fid_is_measured_with_the_weights_it_is_given(
    gan_uri, load, data, judge_uri, small, inception_weights
):
    judge, model = load("judge", judge_uri), load("gan", gan_uri("real"))
    with pytest.raises(NotRun, match=fid.NO_WEIGHTS):
        fid.measure(model, References(data, judge, small), "", True)

    few = dataclasses.replace(data, test_images=data.test_images[:16])
    config = dataclasses.replace(small, samples=16, fid_weights=inception_weights)
    references = References(few, judge, config)
    found = fid.measure(model, references, "", True)
    [row] = found.rows
    assert row.metric == "fid"
    network = load_inception(inception_weights)
    sets = (references.sample(model).images, references.floor_images, few.test_images)
    *others, test = (pool3_features(network, images).astype("float64") for images in sets)
    for value, x in zip((row.value, row.reference), others, strict=True):
        # The trace of the root of two covariances is the nuclear norm of their roots' product.
        shift = np.square(x.mean(axis=0) - test.mean(axis=0)).sum()
        a, b = ((z - z.mean(axis=0)) / np.sqrt(15) for z in (x, test))
        spread = np.square(a).sum() + np.square(b).sum() - 2 * np.linalg.norm(a @ b.T, "nuc")
        assert value == pytest.approx(shift + spread, rel=1e-2)
    assert found.tables[0].title.startswith("FID, Inception-v3")


def test_the_film_ends_in_what_the_served_model_generates(tmp_path, data, references):
    """On a small real network, saved and exported as its training does."""
    import tensorflow as tf

    from trainer_modules.common.export import write_saved_model
    from trainer_modules.common.keras_files import save_network
    from trainer_modules.diffusion.config import DiffusionConfig
    from trainer_modules.diffusion.guidance import build_generator
    from trainer_modules.diffusion.model import build_network
    from trainer_modules.diffusion.signatures import signatures

    mean, std = float(data.train_images.mean()), float(data.train_images.std())
    network = build_network(DiffusionConfig(channels=4, global_width=8, clusters=3))
    generator = build_generator(network, 0.0, 1.0, data.train_images[:99], mean, std)
    served = signatures(generator, network, mean, std)
    write_saved_model(tmp_path / SAVED_MODEL_DIR, [generator, network], served)
    save_network(generator, tmp_path, "generator")
    model = load_model("diffusion", tmp_path / SAVED_MODEL_DIR, 8)
    path = tmp_path / KERAS_DIR / "generator.keras"
    shown, frames = reverse_process(path, 20, 1, mean, std)
    assert shown == [0, 2, 4, 7, 9, 11, 13, 16, 18, 20] and frames.shape[:2] == (3, 10)
    given = {"seed": 1, "count": 3, "steps": 20}
    given = {name: tf.constant(value, tf.int32) for name, value in given.items()}
    made = model.signature("generate")(**given)["image"].numpy()
    np.testing.assert_allclose(frames[:, -1], made, atol=1e-2)
    assert np.abs(frames[:, 0] - made).mean() > 0.1
    forward = forward_process(model, data.test_images[:3], seed=1)
    np.testing.assert_allclose(forward[:, 0], data.test_images[:3], atol=1e-5)
    noise = np.abs(forward - forward[:, :1]).mean(axis=(0, 2, 3, 4))
    assert (np.diff(noise) > 0).all()
    config = dataclasses.replace(references.config, generate_steps=20)
    found = reverse_process_part.measure(model, References(data, None, config), "", True)
    assert found.plots[0].png.startswith(b"\x89PNG")
    assert "after 0, 2, 4, 7, 9, 11, 13, 16, 18 and 20 of 20 steps" in found.plots[0].caption


def test_a_latent_walk_keeps_its_ends_and_its_distance_from_the_origin(gan_uri, load, references):
    start, stop = np.random.default_rng(0).standard_normal((2, 3, 64))
    path = latent_walk(start, stop, 5)
    assert path.shape == (3, 5, 64)
    assert path[:, 0] == pytest.approx(start) and path[:, -1] == pytest.approx(stop)
    steps = np.linspace(0, 1, 5)
    norms = np.outer(np.linalg.norm(start, axis=1), 1 - steps)
    norms += np.outer(np.linalg.norm(stop, axis=1), steps)
    assert np.linalg.norm(path, axis=2) == pytest.approx(norms)
    assert latent_walk(start, start, 3) == pytest.approx(np.repeat(start[:, None], 3, axis=1))
    found = latent_walk_part.measure(load("gan", gan_uri("real")), references, "", True)
    assert [picture.file for picture in found.plots] == ["figures/latent_walk.png"]


def test_quality_is_measured_at_each_number_of_steps(
    digits_from, save, load, data, judge_uri, small, yardsticks
):
    """On a generator whose images have the less noise, the more steps they take."""
    import tensorflow as tf

    from tests.components.evaluator.conftest import number_spec

    source = digits_from("real")

    def generate(seed, count, steps):
        image = source(seed, count)
        noise = tf.random.stateless_normal(tf.shape(image), [seed, 1])
        return {"image": tf.clip_by_value(image + noise / tf.cast(steps, tf.float32), 0.0, 1.0)}

    numbers = [number_spec(name) for name in ("seed", "count", "steps")]
    model = load("diffusion", save({"generate": (generate, numbers)}, [source.store]))
    config = dataclasses.replace(small, generate_steps=4, step_counts=(1, 4, 1000), step_images=150)
    references = yardsticks(data, load("judge", judge_uri), config)
    [part] = steps.parts(config)
    found = part.measure(model, references, "", True)
    [table], [plot] = found.tables, found.plots
    *rows, (kind, floor, one, _) = table.rows
    assert [row[0] for row in rows] == ["1", "4", "1000"] and kind == "real, train split"
    distances = [row[1] for row in rows]
    assert distances[0] > 3 * distances[1] > distances[2] and one == 1
    assert [row[2] for row in rows] == pytest.approx([d / floor for d in distances])
    assert rows[2][2] < 2  # real digits all but, so near the floor
    assert "150 images each" in table.title and plot.png.startswith(b"\x89PNG")
    # As many steps as the metrics have: the same images, not generated again.
    first = references.sample(model).judged.features[:150]
    assert rows[1][1] == pytest.approx(frechet_distance_of(first, references.test.features))
    assert not part.measure(model, references, "", False).tables
