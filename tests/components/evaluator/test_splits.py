"""Each metric is that of an independent implementation on its own split, and no other's.

Images are generated, judged and encoded once more by TensorFlow alone; what is made of them is
computed by NumPy, SciPy, scikit-learn and scikit-image.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from components.evaluator.metrics import anomaly
from components.evaluator.metrics.denoising import add_noise
from components.evaluator.metrics.two_sample import classifier_verdicts
from components.evaluator.parts import anomaly as anomalies
from components.evaluator.parts import (
    clusters,
    denoising,
    discriminator,
    generation,
    judge,
    neighbours,
    reconstruction,
    tsne,
)
from components.evaluator.references import References, read_eval_data
from tests.components.evaluator.conftest import CODE, image_spec, number_spec

SPLITS = ("train", "eval", "test")


@pytest.fixture(scope="module")
def images(data) -> dict[str, np.ndarray]:
    return {"train": data.train_images, "eval": data.held_out_images, "test": data.test_images}


@pytest.fixture(scope="module")
def config(small):
    """Few replicates, as intervals are tested elsewhere."""
    return dataclasses.replace(
        *(small,),
        **{"bootstrap_replicates": 2, "distance_replicates": 2, "noise_levels": (0.4,)},
    )


@pytest.fixture(scope="module")
def call() -> Callable[..., dict[str, np.ndarray]]:
    """``call(uri, signature, **inputs)``: outputs of a Model artifact, by TensorFlow alone."""
    import tensorflow as tf

    def outputs(uri: str, signature: str = "serving_default", **inputs) -> dict[str, np.ndarray]:
        served = tf.saved_model.load(str(Path(uri) / "Format-Serving")).signatures[signature]
        found = served(**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in found.items()}

    return outputs


@pytest.fixture(scope="module")
def judged(images, call, judge_uri) -> dict[str, dict[str, np.ndarray]]:
    return {split: call(judge_uri, image=images[split]) for split in SPLITS}


@pytest.fixture(scope="module")
def generator_uri(data, save) -> str:
    """A GAN that hands out train digits mixed with themselves two pixels further to the right."""
    import tensorflow as tf

    digits = data.train_images[:900]
    store = tf.Variable((digits + np.roll(digits, 2, axis=2)) / 2)

    def generate(seed, count):
        shape = tf.expand_dims(count, 0)
        chosen = tf.random.stateless_uniform(shape, [seed, 0], 0, 900, tf.int32)
        return {"image": tf.gather(store, chosen)}

    def discriminate(image):
        return {"score": tf.sigmoid(40 * (tf.reduce_mean(image, axis=[1, 2, 3]) - 0.13))}

    return save(
        {
            "generate": (generate, [number_spec("seed"), number_spec("count")]),
            "discriminate": (discriminate, [image_spec()]),
        },
        [store],
    )


@pytest.fixture(scope="module")
def generated(call, generator_uri, judge_uri, config) -> dict[str, np.ndarray]:
    """The images that seed 1 stands for, and what the judge makes of them."""
    counts = [200, 200, 100]  # 500 in batches of 200
    parts = [
        call(
            *(generator_uri, "generate"),
            seed=np.int32(1_000_003 * config.seed + i),
            count=np.int32(count),
        )["image"]
        for i, count in enumerate(counts)
    ]
    drawn = np.concatenate(parts)
    return {"image": drawn, **call(judge_uri, image=drawn)}


@pytest.fixture(scope="module")
def references(data, load, judge_uri, config) -> References:
    return References(data, load("judge", judge_uri), config)


@pytest.fixture(scope="module")
def rows(references, load, generator_uri):
    """``rows(measure, name, uri)``: what a part has measured, by metric."""
    done = {}

    def measured(measure, name: str = "gan", uri: str = generator_uri):
        if measure not in done:
            found = measure(load(name, uri), references, "", False)
            done[measure] = {row.metric: row for row in found.rows}
        return done[measure]

    return measured


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Fréchet distance of features by SciPy's matrix square root."""
    from scipy.linalg import sqrtm

    a, b = a.astype("float64"), b.astype("float64")
    x, y = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    shift = a.mean(axis=0) - b.mean(axis=0)
    # A little on the diagonal, as features that are always 0 leave no root to compute.
    tiny = 1e-9 * np.eye(len(x))
    return float(shift @ shift + np.trace(x + y - 2 * sqrtm((x + tiny) @ (y + tiny)).real))


def test_every_split_is_read_from_its_own_folder(examples_uri, images, data):
    found = read_eval_data(examples_uri)
    read = {"train": found.train_images, "eval": found.held_out_images, "test": found.test_images}
    for split in SPLITS:
        np.testing.assert_allclose(read[split], images[split], atol=1e-6)
    np.testing.assert_array_equal(found.train_labels, data.train_labels)
    np.testing.assert_array_equal(found.test_labels, data.test_labels)
    first = [images[split][:100].tobytes() for split in SPLITS]
    assert len(set(first)) == 3


def test_the_judges_accuracy_is_that_on_the_test_images(rows, judged, data):
    found = rows(judge.measure)["judge_accuracy"].value
    of = {
        split: float((judged[split]["probabilities"].argmax(axis=1) == labels).mean())
        for split, labels in (("test", data.test_labels), ("train", data.train_labels))
    }
    assert found == pytest.approx(of["test"], abs=1e-9)
    assert abs(of["train"] - of["test"]) > 0.01


def test_frechet_distances_are_to_the_test_images_and_the_floor_is_of_as_many_train_images(
    rows, judged, generated, references, data
):
    row = rows(generation.measure)["frechet_distance"]
    found = {split: distance(generated["features"], judged[split]["features"]) for split in SPLITS}
    assert row.value == pytest.approx(found["test"], rel=1e-3)
    assert all(abs(found[split] / row.value - 1) > 0.01 for split in ("train", "eval"))

    place = {image.tobytes(): i for i, image in enumerate(data.train_images)}
    chosen = [place[image.tobytes()] for image in references.floor_images]
    assert len(set(chosen)) == 500
    floor = distance(judged["train"]["features"][chosen], judged["test"]["features"])
    assert row.reference == pytest.approx(floor, rel=1e-3)


def test_kid_is_that_of_scikit_learns_kernel_on_features_of_unit_size(
    rows, judged, generated, references
):
    from sklearn.metrics.pairwise import polynomial_kernel

    def kid(split: str, part) -> float:
        scale = np.sqrt((judged["test"]["features"].astype("float64") ** 2).mean())
        x = generated["features"][:300].astype("float64") / scale
        y = judged[split]["features"][part].astype("float64") / scale
        xx, yy, xy = (polynomial_kernel(a, b, degree=3) for a, b in ((x, x), (y, y), (x, y)))
        own = [(k.sum() - np.trace(k)) / (300 * 299) for k in (xx, yy)]
        return sum(own) - 2 * xy.mean()

    row = rows(generation.measure)["kid"]
    assert row.value == pytest.approx(kid("test", references.test_part(300)), rel=1e-3)
    assert row.value != pytest.approx(kid("train", np.arange(300)), rel=1e-2)


def test_inception_score_and_classes_are_those_of_the_generated_images(rows, judged, generated):
    from scipy.stats import entropy

    def score(p: np.ndarray) -> float:
        p = p.astype("float64")
        parts = np.split(p, 2)
        return float(np.mean([np.exp(entropy(x, x.mean(0)[None], axis=1).mean()) for x in parts]))

    def shares(p: np.ndarray) -> np.ndarray:
        return np.bincount(p.argmax(axis=1), minlength=10) / len(p)

    row = rows(generation.measure)["inception_score"]
    assert row.value == pytest.approx(score(generated["probabilities"]), rel=1e-4)
    assert row.reference == pytest.approx(score(judged["test"]["probabilities"]), rel=1e-4)
    mine = shares(generated["probabilities"])
    far = {split: abs(mine - shares(judged[split]["probabilities"])).sum() / 2 for split in SPLITS}
    found = rows(generation.measure)["class_tv"].value
    assert found == pytest.approx(far["test"], abs=1e-9)
    assert abs(far["train"] - found) > 1e-3 and abs(far["eval"] - found) > 1e-3


def test_precision_and_recall_are_of_the_generated_and_of_the_test_images(
    rows, judged, generated, references
):
    from sklearn.neighbors import NearestNeighbors

    def inside(queries, base) -> float:
        """Share of the queries within a ball of the base that reaches to its third neighbour."""
        radius = NearestNeighbors().fit(base).kneighbors(n_neighbors=3)[0][:, -1]
        distances = np.linalg.norm(queries[:, None] - base[None], axis=2)
        return float((distances <= radius).any(axis=1).mean())

    real = judged["test"]["features"][references.test_part(300)]
    fake = generated["features"][:300]
    found = rows(neighbours.measure_diversity)
    assert found["precision"].value == pytest.approx(inside(fake, real), abs=0.01)
    assert found["recall"].value == pytest.approx(inside(real, fake), abs=0.01)
    assert abs(found["precision"].value - found["recall"].value) > 0.02


def test_memorised_are_those_below_the_first_percentile_of_held_out_images_of_their_class(
    rows, images, judged, generated
):
    from sklearn.neighbors import NearestNeighbors

    def nearest(queries, base) -> np.ndarray:
        queries, base = (x.reshape(len(x), -1) for x in (queries, base))
        return NearestNeighbors(n_neighbors=1).fit(base).kneighbors(queries)[0][:, 0]

    def share(mine, own_classes, held, classes) -> float:
        close = [
            mine[own_classes == k] < np.percentile(held[classes == k], 1)
            for k in np.unique(classes)
        ]
        return float(np.concatenate(close).mean())

    mine = {"image": generated["image"][:200], "features": generated["features"][:200]}
    own_classes = generated["probabilities"][:200].argmax(axis=1)
    found = rows(neighbours.measure_memorisation)
    for key, metric in (("image", "memorised_share"), ("features", "memorised_share_features")):
        of = {
            split: images[split] if key == "image" else judged[split]["features"]
            for split in SPLITS
        }
        by = {
            split: share(
                nearest(mine[key], of["train"]),
                *(own_classes, nearest(of[split], of["train"])),
                judged[split]["probabilities"].argmax(axis=1),
            )
            for split in ("eval", "test")
        }
        assert found[metric].value == pytest.approx(by["eval"], abs=0.0051)  # one image of 200
        assert found[metric].reference == 0.01
        if key == "image":
            assert 0.05 < by["eval"] < 0.95 and abs(by["test"] - by["eval"]) > 0.01


def test_the_discriminators_reals_are_the_test_images(rows, images, call, generator_uri):
    found = rows(discriminator.measure)["discriminator_accuracy_real"].value
    right = {
        split: float(
            (call(generator_uri, "discriminate", image=images[split])["score"] > 0.5).mean()
        )
        for split in SPLITS
    }
    assert found == pytest.approx(right["test"], abs=1e-9)
    assert abs(right["train"] - found) > 1e-3 and abs(right["eval"] - found) > 1e-3


def test_reconstruction_is_of_the_test_images_and_pca_is_fitted_on_the_train_images(
    rows, images, call, autoencoder_uri
):
    from sklearn.decomposition import PCA

    uri = autoencoder_uri(used=12)

    def error(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.square(x.reshape(len(x), -1) - y.reshape(len(y), -1)).mean())

    row = rows(reconstruction.measure, "autoencoder", uri)["reconstruction_mse"]
    mine = {
        split: error(images[split], call(uri, image=images[split])["image"]) for split in SPLITS
    }
    assert row.value == pytest.approx(mine["test"], rel=1e-4)
    assert abs(mine["train"] / row.value - 1) > 1e-3 < abs(mine["eval"] / row.value - 1)

    test = images["test"].reshape(-1, 784)
    linear = {}
    for split in SPLITS:
        fit = PCA(CODE, svd_solver="full").fit(images[split].reshape(-1, 784))
        linear[split] = error(test, np.clip(fit.inverse_transform(fit.transform(test)), 0, 1))
    assert row.reference == pytest.approx(linear["train"], rel=1e-3)
    assert abs(linear["test"] / row.reference - 1) > 0.01


def test_denoising_tells_the_model_the_noise_of_the_test_images(
    rows, references, call, diffusion_uri, judge_uri, data, config
):
    from skimage.metrics import peak_signal_noise_ratio

    uri, part = diffusion_uri("real"), references.test_part(config.denoising_images)
    clean = data.test_images[part]
    noisy = add_noise(clean, 0.4, config.seed)
    found = rows(denoising.measure, "diffusion", uri)

    def psnr(level: float) -> tuple[float, np.ndarray]:
        told = np.full(len(noisy), level, "float32")
        out = call(uri, "denoise", image=noisy, noise_level=told)["image"]
        values = [peak_signal_noise_ratio(*pair, data_range=1) for pair in zip(clean, out)]  # noqa: B905
        return float(np.mean(values)), out

    value, images = psnr(0.4)
    assert found["denoising_psnr_40"].value == pytest.approx(value, abs=1e-3)
    assert abs(psnr(0.8)[0] - value) > 0.1
    right = call(judge_uri, image=images)["probabilities"].argmax(axis=1) == data.test_labels[part]
    assert found["denoising_accuracy_40"].value == pytest.approx(right.mean(), abs=1e-9)


def test_clusters_are_of_the_codes_of_the_test_images(rows, call, autoencoder_uri, data, config):
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score

    uri, labels = autoencoder_uri(), data.test_labels
    codes = call(uri, "encode", image=data.test_images)["code"]
    accuracies, scores = [], []
    for i in range(config.kmeans_seeds):
        fit = KMeans(10, n_init=1, random_state=config.seed + i).fit(codes)
        table = np.zeros((10, 10), int)
        np.add.at(table, (fit.labels_, labels), 1)
        accuracies.append(table[linear_sum_assignment(-table)].sum() / len(labels))
        scores.append(normalized_mutual_info_score(labels, fit.labels_))
    found = rows(clusters.measure, "autoencoder", uri)
    assert found["kmeans_accuracy"].value == pytest.approx(np.mean(accuracies), abs=0.005)
    assert found["kmeans_nmi"].value == pytest.approx(np.mean(scores), abs=0.005)


def test_the_maps_accuracy_is_that_of_the_classes_of_its_own_images(
    rows, references, call, autoencoder_uri, data, config
):
    from sklearn.neighbors import NearestNeighbors

    uri, part = autoencoder_uri(), references.test_part(config.tsne_samples)
    codes, labels = (
        call(uri, "encode", image=data.test_images[part])["code"],
        data.test_labels[part],
    )
    near = NearestNeighbors(n_neighbors=10).fit(codes).kneighbors(return_distance=False)
    votes = np.array([np.bincount(labels[each], minlength=10).argmax() for each in near])
    row = rows(tsne.measure, "autoencoder", uri)["tsne_knn_accuracy"]
    assert row.reference == pytest.approx((votes == labels).mean(), abs=0.01)
    assert row.value == pytest.approx(row.reference, abs=0.15)


def test_anomalies_are_told_from_intact_test_images(
    rows, references, call, autoencoder_uri, data, config
):
    from sklearn.metrics import roc_auc_score

    uri = autoencoder_uri()
    intact = data.test_images[references.test_part(config.anomaly_images)]

    def score(x: np.ndarray) -> np.ndarray:
        return call(uri, "anomaly_score", image=x)["anomaly_score"]

    areas = []
    for kind in anomaly.CORRUPTIONS:
        odd = score(anomaly.corrupt(intact, kind, config.seed))
        truth = np.repeat([0, 1], len(intact))
        areas.append(roc_auc_score(truth, np.concatenate([score(intact), odd])))
    found = rows(anomalies.measure_corruptions, "autoencoder", uri)["anomaly_auroc"].value
    assert found == pytest.approx(np.mean(areas), abs=1e-4)


def test_the_fresh_network_is_tested_on_images_that_it_has_not_seen():
    """Noise against noise: known by heart after a few steps, and a toss of a coin if unseen."""
    x, y = np.random.default_rng(0).random((2, 160, 28, 28, 1), dtype=np.float32)
    assert 0.3 < classifier_verdicts(x, y, seed=1).mean() < 0.7
