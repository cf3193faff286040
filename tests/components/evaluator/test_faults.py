"""Faults on trial: a model with one fault is refused by the gate that is meant for it.

Real SavedModels on real digits, judged by a real classifier, under the gates of the quick profile
with their thresholds untouched. Fewer images than the profile takes, so that a trial takes seconds:
5,000 generated ones against 5,000 test images. All thresholds hold there too, as real digits that
no model has seen pass every one of them.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from components.evaluator.measurement import Standard
from components.evaluator.references import EvalData
from components.evaluator.results import Evaluation
from components.evaluator.run import evaluate_model
from components.evaluator.saved_model import load_model
from pipeline.config import load_config

TRAIN, SEEN, REAL, HELD_OUT, TEST = 10_000, 50_000, 8000, 2000, 5000
CODE, BATCH = 32, 500
QUICK = load_config("quick").evaluator
CONFIG = dataclasses.replace(
    QUICK,
    samples=TEST,
    batch_size=BATCH,
    inception_splits=1,
    bootstrap_replicates=100,
    distance_replicates=20,
    pair_images=2000,
    memorisation_images=500,
    tsne_samples=100,  # the map has no gate
    noise_levels=(0.4,),
    denoising_images=300,
    anomaly_images=300,
)
pytestmark = pytest.mark.slow  # trains a judge and an autoencoder, and evaluates eight models


@pytest.fixture(scope="module")
def files(mnist_dir):
    from tests.components.evaluator.conftest import read_idx

    images, labels = read_idx(mnist_dir, "t10k", 10_000)
    # The file is in order of writers, so a part is taken at random.
    part = np.random.default_rng(1).permutation(len(images))[:TEST]
    return read_idx(mnist_dir, "train", 60_000), (images[part], labels[part])


@pytest.fixture(scope="module")
def digits(files) -> EvalData:
    """10,000 digits that a copier copies, 2,000 that it never saw, 5,000 test images."""
    (images, labels), (test_images, test_labels) = files
    return EvalData(
        test_images=test_images,
        test_labels=test_labels,
        train_images=images[:TRAIN],
        num_classes=10,
        train_labels=labels[:TRAIN],
        held_out_images=images[-HELD_OUT:],
    )


@pytest.fixture(scope="module")
def judge(files, save):
    """A convolutional classifier, some 98.5 % right."""
    import keras

    from tests.components.evaluator.conftest import save_judge

    (images, labels), _ = files
    keras.utils.set_random_seed(1)
    image = keras.Input((28, 28, 1))
    x = keras.layers.Conv2D(16, 3, 2, "same", activation="relu")(image)
    x = keras.layers.Conv2D(32, 3, 2, "same", activation="relu")(x)
    features = keras.layers.Dense(128, activation="relu")(keras.layers.Flatten()(x))
    network = keras.Model(image, [keras.layers.Dense(10)(features), features])
    classifier = keras.Model(image, network.outputs[0])
    rate = keras.optimizers.schedules.CosineDecay(4e-3, 3 * (SEEN // 250))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    classifier.compile(keras.optimizers.Adam(rate), loss)
    classifier.fit(images[:SEEN], labels[:SEEN], batch_size=250, epochs=3, verbose=0)

    return _load("judge", save_judge(save, network))


@pytest.fixture(scope="module")
def generators(files, digits, judge, save, shared_yardsticks):
    """``generators(kind)``: the evaluation of a GAN that draws in a known way."""
    import tensorflow as tf

    from tests.components.evaluator.conftest import image_spec, number_spec

    (images, _), _ = files
    stores = {
        "real": images[SEEN : SEEN + REAL],  # neither in a training nor in the test
        "copies": digits.train_images,
        "collapsed": digits.train_images[:1],
    }
    done: dict[str, Evaluation] = {}

    def build(kind: str) -> str:
        store = tf.Variable(stores.get(kind, digits.train_images[:1]))

        def generate(seed, count):
            shape = tf.expand_dims(count, 0)
            if kind == "noise":
                noise = tf.random.stateless_normal(tf.concat([shape, [28, 28, 1]], 0), [seed, 0])
                return {"image": tf.clip_by_value(0.13 + 0.31 * noise, 0.0, 1.0)}
            index = tf.random.stateless_uniform(shape, [seed, 0], 0, store.shape[0], tf.int32)
            return {"image": tf.gather(store, index)}

        def discriminate(image):
            return {"score": tf.sigmoid(40 * (tf.reduce_mean(image, axis=[1, 2, 3]) - 0.13))}

        numbers = [number_spec("seed"), number_spec("count")]
        return save(
            {"generate": (generate, numbers), "discriminate": (discriminate, [image_spec()])},
            [store],
        )

    def evaluate(kind: str) -> Evaluation:
        if kind not in done:
            done[kind] = evaluate_model(_load("gan", build(kind)), judge, digits, CONFIG)
        return done[kind]

    return evaluate


@pytest.fixture(scope="module")
def autoencoders(files, digits, judge, save, shared_yardsticks):
    """``autoencoders(fault)``: the evaluation of a real, trained autoencoder with one fault."""
    import keras
    import tensorflow as tf

    from tests.components.evaluator.conftest import image_spec

    (images, _), _ = files
    keras.utils.set_random_seed(1)
    layers = keras.layers
    encoder = keras.Sequential(
        [layers.Flatten(), layers.Dense(512, activation="relu"), layers.Dense(CODE)]
    )
    decoder = keras.Sequential(
        [
            *(layers.Dense(512, activation="relu"), layers.Dense(784, activation="sigmoid")),
            layers.Reshape((28, 28, 1)),
        ]
    )
    whole = keras.Sequential([keras.Input((28, 28, 1)), encoder, decoder])
    rate = keras.optimizers.schedules.CosineDecay(2e-3, 8 * (SEEN // 128))
    whole.compile(keras.optimizers.Adam(rate), "binary_crossentropy")
    rng = np.random.default_rng(1)
    clean = images[:SEEN]
    for _ in range(8):  # half of the input is noisy, as in the trainer
        noise = rng.standard_normal(clean.shape, "float32")
        noise *= np.float32(0.4) * (rng.random((len(clean), 1, 1, 1)) < 0.5)
        noisy = np.clip(clean + noise, 0, 1)
        whole.fit(noisy, clean, batch_size=128, epochs=1, verbose=0)
    mean = tf.constant(clean.mean(axis=0))
    reach = np.exp(-0.5 * (np.arange(-6, 7) / 2.0) ** 2)  # Gaussian of two pixels
    kernel = tf.constant(np.outer(reach, reach) / reach.sum() ** 2, tf.float32)[..., None, None]
    done: dict[str, Evaluation] = {}

    def build(fault: str) -> str:
        def encode(image):
            code = encoder(image)
            # Every image gets the code of the one before it in the batch.
            return {"code": tf.roll(code, 1, axis=0) if fault == "permuted" else code}

        def reconstruct(image):
            if fault == "mean":
                return {"image": tf.zeros_like(image) + mean}
            return {"image": decoder(encoder(image))}

        def denoise(image):
            clean = decoder(encoder(image))
            return {"image": tf.nn.conv2d(clean, kernel, 1, "SAME") if fault == "blur" else clean}

        def anomaly_score(image):
            error = tf.square(image - decoder(encoder(image)))
            return {"anomaly_score": tf.reduce_mean(error, axis=[1, 2, 3])}

        code = [tf.TensorSpec([None, CODE], tf.float32, name="code")]
        image = [image_spec()]
        signatures = {
            "serving_default": (reconstruct, image),
            "denoise": (denoise, image),
            "encode": (encode, image),
            "decode": (lambda code: {"image": decoder(code)}, code),
            "anomaly_score": (anomaly_score, image),
        }
        return save(signatures, [encoder, decoder])

    def evaluate(fault: str) -> Evaluation:
        if fault not in done:
            model = _load("autoencoder", build(fault))
            done[fault] = evaluate_model(model, judge, digits, CONFIG)
        return done[fault]

    return evaluate


@pytest.mark.parametrize(
    ("kind", "metrics"),
    [
        ("collapsed", ("class_tv", "recall", "inception_score", "fd_over_floor")),
        ("noise", ("nearest_neighbour_accuracy", "fd_over_floor", "inception_score")),
        ("copies", ("memorised_share",)),
    ],
)
def test_a_generator_with_a_fault_is_refused_by_the_gate_meant_for_it(generators, kind, metrics):
    found = generators(kind)
    assert not found.blessed
    refused = {gate.metric: gate for gate in found.gates if not gate.passed}
    for metric in metrics:
        assert metric in refused, found.figure(metric)
        assert refused[metric].value is not None  # by its value, not for want of one
        assert refused[metric].sentence in found.reason


def test_copies_of_the_train_images_fool_every_gate_but_those_of_memorisation(generators):
    refused = {gate.metric for gate in generators("copies").gates if not gate.passed}
    assert refused == {"memorised_share", "memorised_share_features"}


def test_real_digits_that_no_model_has_seen_pass_the_same_gates(generators):
    found = generators("real")
    assert [gate.sentence for gate in found.gates if not gate.passed] == []
    assert found.blessed


@pytest.mark.parametrize(
    ("fault", "metrics"),
    [
        ("mean", ("mse_over_pca",)),
        ("blur", ("denoising_ssim_40", "denoising_gain_40")),
        ("permuted", ("kmeans_accuracy", "kmeans_nmi_gain")),
    ],
)
def test_an_autoencoder_with_a_fault_is_refused_by_the_gate_meant_for_it(
    autoencoders, fault, metrics
):
    found, sound = autoencoders(fault), autoencoders("none")
    assert not found.blessed
    refused = {gate.metric: gate for gate in found.gates if not gate.passed}
    passed = {gate.metric for gate in sound.gates if gate.passed}
    for metric in metrics:
        assert metric in refused and metric in passed
        assert refused[metric].value is not None
    assert set(refused) == set(metrics)


def test_a_sound_autoencoder_passes_the_same_gates(autoencoders):
    assert [gate.sentence for gate in autoencoders("none").gates if not gate.passed] == []


def test_evaluated_twice_metrics_json_is_the_same_but_for_the_seconds(
    gan_uri, autoencoder_uri, data, judge_uri, small, own_yardsticks
):
    few = {"noise_levels": (0.4,), "tsne_samples": 100, "denoising_images": 50}
    judge = _load("judge", judge_uri)
    for name, uri in (("gan", gan_uri("real")), ("autoencoder", autoencoder_uri())):
        config = dataclasses.replace(small, gates=QUICK.gates, **few)
        standards = [Standard("the champion", _load(name, uri))]
        written = []
        for _ in range(2):
            found = evaluate_model(_load(name, uri), judge, data, config, standards).as_dict()
            assert found.pop("seconds") > 0
            written.append(json.dumps(found))
        assert written[0] == written[1]


def _load(name: str, uri: str):
    return load_model(name, Path(uri) / "Format-Serving", BATCH)
