"""Small real SavedModels with the signatures of the trainers, on a few hundred real digits.

They are built by hand, so that it is known how good each is: a linear autoencoder is PCA itself, a
generator that hands out real digits is as good as real, one that hands out one digit has collapsed.
"""

import dataclasses
import functools
import gzip
from pathlib import Path

import numpy as np
import pytest

from components.evaluator import run
from components.evaluator.config import EvaluatorConfig
from components.evaluator.references import EvalData, References
from components.evaluator.saved_model import LoadedModel, load_model

TRAIN, HELD_OUT, TEST, CODE = 2400, 300, 500, 16
SMALL = EvaluatorConfig(
    samples=500,
    generate_steps=2,
    batch_size=200,
    inception_splits=2,
    distance_replicates=20,
    pair_images=300,
    memorisation_images=200,
    kmeans_seeds=2,
    tsne_samples=300,
    denoising_images=200,
    anomaly_images=200,
)


def read_idx(folder: Path, prefix: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first ``count`` images [N, 28, 28, 1] in [0, 1] and labels [N]."""
    with gzip.open(folder / f"{prefix}-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + 784 * count)[16:], np.uint8)
    with gzip.open(folder / f"{prefix}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + count)[8:], np.uint8)
    return (pixels.reshape(-1, 28, 28, 1) / 255).astype(np.float32), labels.astype(np.int64)


@pytest.fixture(scope="session")
def data(mnist_dir) -> EvalData:
    """Real digits: 2,400 to train on, 300 held out of training, 500 to test on."""
    images, labels = read_idx(mnist_dir, "train", TRAIN + HELD_OUT)
    test_images, test_labels = read_idx(mnist_dir, "t10k", TEST)
    return EvalData(
        test_images=test_images,
        test_labels=test_labels,
        train_images=images[:TRAIN],
        num_classes=10,
        train_labels=labels[:TRAIN],
        held_out_images=images[TRAIN:],
    )


@pytest.fixture(scope="session")
def examples_uri(data, mnist_dir, tmp_path_factory) -> str:
    """The same digits as Transform writes them."""
    import tensorflow as tf

    root = tmp_path_factory.mktemp("transformed")
    _, labels = read_idx(mnist_dir, "train", TRAIN + HELD_OUT)
    splits = {
        "train": (data.train_images, data.train_labels),
        "eval": (data.held_out_images, labels[TRAIN:]),
        "test": (data.test_images, data.test_labels),
    }

    def feature(**kind):
        return tf.train.Feature(
            **{
                f"{name}_list": (
                    tf.train.FloatList(value=values)
                    if name == "float"
                    else tf.train.Int64List(value=values)
                )
                for name, values in kind.items()
            }
        )

    for split, (images, labels) in splits.items():
        (root / f"Split-{split}").mkdir()
        path = str(root / f"Split-{split}" / "transformed_examples-00000-of-00001.gz")
        options = tf.io.TFRecordOptions(compression_type="GZIP")
        with tf.io.TFRecordWriter(path, options) as writer:
            for image, label in zip(images, labels, strict=True):
                features = {
                    "image": feature(float=image.ravel()),
                    "label": feature(int64=[int(label)]),
                    "pixel_mean": feature(float=[0.13]),
                    "pixel_std": feature(float=[0.31]),
                    "num_classes": feature(int64=[10]),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
    return str(root)


@pytest.fixture(scope="session")
def save(tmp_path_factory):
    """Writes a Model artifact with the given signatures; returns its directory."""
    import tensorflow as tf

    def write(signatures, tracked=()) -> str:
        folder = tmp_path_factory.mktemp("model")
        module = tf.Module()
        module.tracked = list(tracked)
        module.functions = {
            name: tf.function(f, input_signature=specs) for name, (f, specs) in signatures.items()
        }
        concrete = {name: f.get_concrete_function() for name, f in module.functions.items()}
        tf.saved_model.save(module, str(folder / "Format-Serving"), signatures=concrete)
        return str(folder)

    return write


def image_spec():
    import tensorflow as tf

    return tf.TensorSpec([None, 28, 28, 1], tf.float32, name="image")


def number_spec(name):
    import tensorflow as tf

    return tf.TensorSpec([], tf.int32, name=name)


@pytest.fixture(scope="session")
def judge_uri(data, save) -> str:
    """A real classifier, about 90 % right after two seconds of training."""
    import keras

    keras.utils.set_random_seed(1)
    image = keras.Input((28, 28, 1))
    features = keras.layers.Dense(128, activation="relu")(keras.layers.Flatten()(image))
    network = keras.Model(image, [keras.layers.Dense(10)(features), features])
    classifier = keras.Model(image, network.outputs[0])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    classifier.compile("adam", loss)
    classifier.fit(data.train_images, data.train_labels, batch_size=64, epochs=8, verbose=0)
    return save_judge(save, network)


def save_judge(save, network) -> str:
    """Writes a network of logits and features as the judge's SavedModel."""
    import tensorflow as tf

    def classify(image):
        logits, hidden = network(image, training=False)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits), "features": hidden}

    return save({"serving_default": (classify, [image_spec()])}, [network])


@pytest.fixture(scope="session")
def load(small):
    """``load(name, uri)``: the model in a Model artifact, as the Evaluator sees it."""

    def from_uri(name: str, uri: str) -> LoadedModel:
        return load_model(name, Path(uri) / "Format-Serving", small.batch_size)

    return from_uri


@pytest.fixture(scope="session")
def yardsticks():
    """``References``, made once for the same data, judge and config, gates aside: what they keep
    depends on nothing else.
    """
    made: dict[tuple, References] = {}

    def references(data: EvalData, judge: LoadedModel, config: EvaluatorConfig) -> References:
        key = (id(data), judge.path, repr(dataclasses.replace(config, gates={})))
        if key not in made:
            made[key] = References(data, judge, config)  # keeps data, so that its id stays its own
        return made[key]

    return references


@pytest.fixture(scope="module")
def shared_yardsticks(yardsticks):
    """The evaluations of a module share ``yardsticks``, as a candidate and its champion do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "References", yardsticks)
        yield


@pytest.fixture
def own_yardsticks(monkeypatch):
    """Every evaluation of this test computes its ``References`` itself, as outside the tests."""
    monkeypatch.setattr(run, "References", References)


@pytest.fixture(scope="session")
def autoencoder_uri(data, save):
    """``build(broken, used)``: PCA as an autoencoder with ``used`` components; ``broken`` gives
    NaN codes.
    """
    import tensorflow as tf

    from components.evaluator.metrics.reconstruction import pixel_statistics

    found = pixel_statistics(data.train_images)
    mean = tf.constant(found.mean, tf.float32)
    vectors = tf.constant(found.vectors[:, :CODE], tf.float32)

    @functools.cache
    def build(broken: bool = False, used: int = CODE) -> str:
        basis = vectors * tf.cast(tf.range(CODE) < used, tf.float32)

        def encode(image):
            code = tf.matmul(tf.reshape(image, [-1, 784]) - mean, basis)
            return {"code": code * float("nan") if broken else code}

        def decode(code):
            image = tf.matmul(code, basis, transpose_b=True) + mean
            return {"image": tf.clip_by_value(tf.reshape(image, [-1, 28, 28, 1]), 0.0, 1.0)}

        def reconstruct(image):
            code = tf.matmul(tf.reshape(image, [-1, 784]) - mean, basis)
            return decode(code)

        def anomaly_score(image):
            error = tf.square(image - reconstruct(image)["image"])
            return {"anomaly_score": tf.reduce_mean(error, axis=[1, 2, 3])}

        code = tf.TensorSpec([None, CODE], tf.float32, name="code")
        image = [image_spec()]
        return save(
            {
                "serving_default": (reconstruct, image),
                "denoise": (reconstruct, image),
                "encode": (encode, image),
                "decode": (decode, [code]),
                "anomaly_score": (anomaly_score, image),
            }
        )

    return build


@pytest.fixture(scope="session")
def digits_from(data):
    """``draw(kind)``: an image source (seed, count) -> images inside a SavedModel.

    real: digits of the train split at random; collapsed: one digit again and again;
    broken: NaN.
    """
    import tensorflow as tf

    def draw(kind: str):
        if kind == "broken":
            return lambda seed, count: tf.fill([count, 28, 28, 1], float("nan"))
        store = tf.Variable(data.train_images if kind == "real" else data.train_images[:1])

        def source(seed, count):
            shape, top = tf.expand_dims(count, 0), store.shape[0]
            index = tf.random.stateless_uniform(shape, [seed, 0], 0, top, tf.int32)
            return tf.gather(store, index)

        source.store = store
        return source

    return draw


@pytest.fixture(scope="session")
def gan_uri(digits_from, save):
    """``build(kind)``: a GAN whose generator hands out digits; its critic looks at brightness."""
    import tensorflow as tf

    @functools.cache
    def build(kind: str) -> str:
        source = digits_from(kind)

        def generate(seed, count):
            return {"image": source(seed, count)}

        def from_latent(latent):
            return {"image": tf.sigmoid(tf.reshape(tf.tile(latent, [1, 98]), [-1, 28, 28, 1]))}

        def discriminate(image):
            return {"score": tf.sigmoid(40 * (tf.reduce_mean(image, axis=[1, 2, 3]) - 0.13))}

        return save(
            {
                "generate": (generate, [number_spec("seed"), number_spec("count")]),
                "discriminate": (discriminate, [image_spec()]),
                "serving_default": (from_latent, [tf.TensorSpec([None, 8], name="latent")]),
            },
            [getattr(source, "store", tf.Variable(0.0))],
        )

    return build


@pytest.fixture(scope="session")
def diffusion_uri(data, digits_from, save):
    """``build(kind)``: hands out digits, and denoises by the linear optimum for clipped noise."""
    import tensorflow as tf

    from components.evaluator.metrics.reconstruction import pixel_statistics

    found = pixel_statistics(data.train_images)
    mean = tf.constant(found.mean, tf.float32)
    vectors = tf.constant(found.vectors, tf.float32)
    values = tf.constant(found.values, tf.float32)

    @functools.cache
    def build(kind: str) -> str:
        source = digits_from(kind)

        def generate(seed, count, steps):
            return {"image": source(seed + 0 * steps, count)}

        def denoise(image, noise_level):
            gain = values / (values + tf.square(noise_level)[:, None])
            x = tf.matmul(tf.reshape(image, [-1, 784]) - mean, vectors) * gain
            x = tf.matmul(x, vectors, transpose_b=True) + mean
            return {"image": tf.clip_by_value(tf.reshape(x, [-1, 28, 28, 1]), 0.0, 1.0)}

        level = tf.TensorSpec([None], tf.float32, name="noise_level")
        numbers = [number_spec(name) for name in ("seed", "count", "steps")]
        return save(
            {"generate": (generate, numbers), "denoise": (denoise, [image_spec(), level])},
            [getattr(source, "store", tf.Variable(0.0))],
        )

    return build


@pytest.fixture(scope="session")
def inception_weights(tmp_path_factory) -> str:
    """Inception-v3 as it is before training, saved as Keras saves weights."""
    import keras

    keras.utils.set_random_seed(1)
    network = keras.applications.InceptionV3(
        include_top=False, weights=None, pooling="avg", input_shape=(299, 299, 3)
    )
    path = str(tmp_path_factory.mktemp("inception") / "inception.weights.h5")
    network.save_weights(path)
    return path


@pytest.fixture(scope="session")
def small() -> EvaluatorConfig:
    """Sizes that keep an evaluation within seconds; no gates."""
    return SMALL
