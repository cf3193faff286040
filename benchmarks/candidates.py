"""Bad candidates, which the gates must refuse: forgeries of a generator, and simple methods.

Contract: every candidate is measured by the parts of the evaluation, with the pipeline's judge and
settings, as if it were a trained model. A set of images stands in for a generator; functions of
NumPy stand in for the signatures of an autoencoder or a denoiser.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, grey_dilation, grey_erosion, rotate, zoom

from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Row
from components.evaluator.metrics import reconstruction
from components.evaluator.metrics.denoising import linear_optimum
from components.evaluator.references import References
from components.evaluator.run import parts_of
from components.evaluator.saved_model import LoadedModel
from core.images import IMAGE_SHAPE, PIXELS

SEED = 1
NOISE = 0.4  # that of the gates
Functions = Mapping[str, Callable[..., np.ndarray]]  # by signature; images in, one output each
_OUTPUTS = {"encode": "code", "anomaly_score": "anomaly_score"}


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A bad model in the place of each of ``models``, which are measured alike."""

    models: tuple[str, ...]
    name: str
    functions: Functions


class StandIn(LoadedModel):
    """A model whose ``handle`` is ``Functions`` in place of a SavedModel."""

    def inputs(self, name: str) -> Mapping[str, Any]:
        """Parameters of the function."""
        return inspect.signature(self.handle[name]).parameters

    def size_of(self, name: str, output: str) -> int:
        """Numbers per image."""
        return self.handle[name](np.zeros((1, *IMAGE_SHAPE), np.float32)).shape[-1]

    def run(self, name: str, stage: str = "", **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Calls the function once with all rows."""
        return {_OUTPUTS.get(name, "image"): self.handle[name](**inputs)}

    def generate(self, count: int, seed: int, stage: str = "", **settings: int) -> np.ndarray:
        """The first ``count`` images."""
        return self.handle["generate"]()[:count]


def measure(candidate: Candidate, references: References, config: EvaluatorConfig) -> list[Row]:
    """Rows of the gated parts that the candidate has the signatures for."""
    name = candidate.models[0]
    gated = {gate.metric for model in candidate.models for gate in config.gates_of(model)}
    default = "serving_default" if name == "autoencoder" else "generate"
    model = StandIn(name, candidate.name, candidate.functions, config.batch_size)
    rows = []
    for part in parts_of(name, config):
        needed = {"denoising": "denoise", "judge": default}.get(part.name, default)
        if needed in candidate.functions and any(m.name in gated for m in part.metrics):
            rows += part.measure(model, references, candidate.name, False).rows
    return rows


def all_of(references: References, models: Mapping[str, LoadedModel]) -> Iterator[Candidate]:
    """The bad candidates in the place of the pipeline's trained ``models``."""
    generators = tuple(name for name in models if name != "autoencoder")
    if generators:
        yield from forgeries(references, generators)
    for name in generators:
        yield from spoilt(references, references.sample(models[name]).images, name)
    if "autoencoder" in models:
        yield from bad_autoencoders(references, models["autoencoder"])
    if {"autoencoder", "diffusion"} <= set(models):
        yield from bad_denoisers(references, models["autoencoder"])


def forgeries(references: References, models: tuple[str, ...]) -> Iterator[Candidate]:
    """Images made from real train images, in the place of generated ones."""
    count, pixels = references.samples, references.pixels
    rng = np.random.default_rng(SEED)
    every = references.data.train_images
    train = every[rng.choice(len(every), count, replace=False)]
    noise = rng.standard_normal(train.shape, dtype=np.float32)
    spread = rng.standard_normal((count, PIXELS), dtype=np.float32) * np.sqrt(pixels.values)
    directions, order = rng.integers(0, 4, count), rng.permutation(count)
    turned = functools.partial(rotate, train, axes=(1, 2), reshape=False, order=1)
    found: dict[str, Callable[[], np.ndarray]] = {
        "train images": lambda: train,
        "train images, moved by 1 px": lambda: _moved(train, directions),
        "train images, rotated by 5 degrees": lambda: turned(5),
        "train images, rotated by 15 degrees": lambda: turned(15),
        "train images, zoomed by 10 %": lambda: _zoomed(train, 1.1),
        "train images, thickened": lambda: grey_dilation(train, (1, 2, 2, 1)),
        "train images, thinned": lambda: grey_erosion(train, (1, 2, 2, 1)),
        "train images, noise 0.05": lambda: train + np.float32(0.05) * noise,
        "train images, noise 0.1": lambda: train + np.float32(0.1) * noise,
        "train images, blurred by 0.5 px": lambda: _blurred(train, 0.5),
        "train images, binarised": lambda: train > 0.5,
        "train images, mean of two": lambda: (train + train[order]) / 2,
        "a tenth of the train images, repeated": lambda: np.resize(
            train[: count // 10], train.shape
        ),
        "PCA of train images, 64 dimensions": lambda: reconstruction.pca_reconstruction(
            train, pixels, 64
        ),
        "Gaussian of the pixels": lambda: pixels.mean + spread @ pixels.vectors.T,
    }
    yield from _sets(models, found)


def spoilt(references: References, images: np.ndarray, model: str) -> Iterator[Candidate]:
    """The images [N, 28, 28, 1] of the trained ``model`` with one fault each."""
    count, classes = len(images), references.judge(images).classes
    rng = np.random.default_rng(SEED)
    noise = rng.standard_normal(images.shape, dtype=np.float32)
    uniform = rng.random(images.shape, dtype=np.float32)
    directions, order = rng.integers(0, 4, count), rng.permutation(count)
    top = np.arange(IMAGE_SHAPE[0])[:, None, None] < IMAGE_SHAPE[0] // 2
    by_size = np.argsort(np.bincount(classes, minlength=references.data.num_classes))

    chance = rng.random((count, 1, 1, 1))

    def mixed(share: float, other: np.ndarray) -> np.ndarray:
        """``other`` in the place of a random part, as some metrics look at the first images."""
        return np.where(chance < share, other, images)

    def only(kept: np.ndarray) -> np.ndarray:
        return np.resize(images[kept], images.shape)

    found: dict[str, Callable[[], np.ndarray]] = {
        "noise 0.05": lambda: images + np.float32(0.05) * noise,
        "noise 0.1": lambda: images + np.float32(0.1) * noise,
        "moved by 1 px": lambda: _moved(images, directions),
        "blurred by 0.5 px": lambda: _blurred(images, 0.5),
        "ink times 0.8": lambda: np.float32(0.8) * images,
        "15 % chimeras": lambda: mixed(0.15, np.where(top, images, images[order])),
        "5 % uniform noise": lambda: mixed(0.05, uniform),
        "8 % blank": lambda: mixed(0.08, np.zeros_like(images)),
        "half of the classes": lambda: only(classes < references.data.num_classes / 2),
        "one class missing": lambda: only(classes != by_size[0]),
        "6 % more of one class": lambda: mixed(0.068, only(classes == by_size[-1])),
        "three tenths, repeated": lambda: only(np.arange(count) < 0.3 * count),
        "one image": lambda: only(np.arange(count) == 0),
    }
    yield from _sets((model,), {f"the trained {model}, {name}": f for name, f in found.items()})


def _sets(
    models: tuple[str, ...], found: Mapping[str, Callable[[], np.ndarray]]
) -> Iterator[Candidate]:
    for name, images in found.items():
        generate = functools.cache(lambda images=images: _shaped(_clipped(images())))
        yield Candidate(models, name, {"generate": generate})


def bad_autoencoders(references: References, model: LoadedModel) -> Iterator[Candidate]:
    """Linear methods, and the pipeline's own autoencoder ``model`` with one fault each."""
    train, statistics = references.data.train_images, references.pixels
    size = model.size_of("encode", "code")
    mean = _shaped(statistics.mean[None])
    inverse = statistics.vectors / (statistics.values + 1e-3) @ statistics.vectors.T

    def project(image: np.ndarray) -> np.ndarray:
        return reconstruction.pca_reconstruction(image, statistics, size)

    def decode(code: np.ndarray) -> np.ndarray:
        return _shaped(_clipped(code @ statistics.vectors[:, :size].T + statistics.mean))

    def mahalanobis(image: np.ndarray) -> np.ndarray:
        centred = image.reshape(-1, PIXELS) - statistics.mean
        return np.einsum("ij,ij->i", centred @ inverse, centred)

    pca = {
        "serving_default": project,
        "encode": lambda image: reconstruction.pca_code(image, statistics, size),
        "decode": decode,
        "denoise": project,
        "anomaly_score": lambda image: reconstruction.squared_error(image, project(image)),
    }
    best_linear = {
        "denoise": lambda image: linear_optimum(image, train, NOISE),
        "anomaly_score": mahalanobis,
    }
    constant = {
        "serving_default": lambda image: np.broadcast_to(mean, image.shape),
        "denoise": lambda image: np.broadcast_to(mean, image.shape),
        "anomaly_score": lambda image: reconstruction.squared_error(image, mean),
    }
    own = _functions(model)
    scale = own["encode"](references.data.held_out_images[:1000]).std()

    def shaken(image: np.ndarray) -> np.ndarray:
        code = own["encode"](image)
        rng = np.random.default_rng(SEED)
        return code + scale * rng.standard_normal(code.shape).astype(np.float32)

    faults: dict[str, Functions] = {
        f"PCA, {size} dimensions": pca,
        f"PCA, {size} dimensions, linear denoiser, Mahalanobis distance": {**pca, **best_linear},
        "the mean image": {**pca, **constant},
        "trained, output blurred by 1 px": {
            **own,
            "serving_default": lambda image: _blurred(own["serving_default"](image), 1),
            "denoise": lambda image: _blurred(own["denoise"](image), 1),
        },
        "trained, latent of the image before": {
            **own,
            "encode": lambda image: np.roll(own["encode"](image), 1, axis=0),
        },
        "trained, as much noise as signal in the latent": {**own, "encode": shaken},
        "trained, the noisy image returned": {**own, "denoise": lambda image: image},
        "trained, anomaly score reversed": {
            **own,
            "anomaly_score": lambda image: -own["anomaly_score"](image),
        },
    }
    for name, functions in faults.items():
        yield Candidate(("autoencoder",), name, functions)


def bad_denoisers(references: References, autoencoder: LoadedModel) -> Iterator[Candidate]:
    """Methods that need no diffusion model, in the place of its denoiser."""
    train, own = references.data.train_images, _functions(autoencoder)
    methods: dict[str, Callable[..., np.ndarray]] = {
        "the noisy image returned": lambda image: image,
        "Gaussian filter of 1 px": lambda image: _blurred(image, 1),
        "linear denoiser": lambda image: linear_optimum(image, train, NOISE),
        "the trained autoencoder": own["denoise"],
    }
    for name, method in methods.items():
        yield Candidate(("diffusion",), f"denoiser: {name}", {"denoise": method})


def _functions(model: LoadedModel) -> Functions:
    """The signatures of a trained autoencoder as functions of arrays."""

    def call(name: str) -> Callable[[np.ndarray], np.ndarray]:
        return lambda image: next(iter(model.run(name, image=image).values()))

    names = ("serving_default", "encode", "denoise", "anomaly_score")
    found = {name: call(name) for name in names}
    return {**found, "decode": lambda code: model.run("decode", code=code)["image"]}


def _moved(images: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Each image moved by one pixel: up, down, left or right."""
    ways = [np.roll(images, step, axis) for step in (1, -1) for axis in (1, 2)]
    return np.choose(directions[:, None, None, None], ways)


def _zoomed(images: np.ndarray, factor: float) -> np.ndarray:
    side = IMAGE_SHAPE[0]
    large = zoom(images, (1, factor, factor, 1), order=1)
    edge = (large.shape[1] - side) // 2
    return large[:, edge : edge + side, edge : edge + side]


def _blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter(images, (0, sigma, sigma, 0))


def _clipped(images: np.ndarray) -> np.ndarray:
    return np.clip(images, 0, 1)


def _shaped(images: np.ndarray) -> np.ndarray:
    return np.asarray(images, np.float32).reshape(-1, *IMAGE_SHAPE)
