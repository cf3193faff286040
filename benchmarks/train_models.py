"""Trains each model and measures it on the test images, on any Keras backend and without TFX.

Contract: settings and training loops are the pipeline's, the metrics its Evaluator's. Every metric
has its reference: PCA of equal size, the noisy input and the linear optimum, or real images. Test
images are used for the metrics only. Image grids are the first 64 images of a seed.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.special import expit, softmax

from benchmarks.flops import (
    autoencoder_flops,
    forward_flops,
    gan_draw_flops,
    gan_flops,
    step_flops,
)
from benchmarks.splits import Splits
from components.evaluator.metrics.bootstrap import interval, mean_replicates
from components.evaluator.metrics.clustering import kmeans_runs
from components.evaluator.metrics.denoising import add_noise, linear_optimum
from components.evaluator.metrics.reconstruction import (
    pca_reconstruction,
    psnr,
    squared_error,
    ssim,
)
from components.evaluator.references import EvalData, References
from core.clusters import embed_graph, neighbour_graph
from core.digits import Digits
from pipeline.config import RunConfig
from trainer_modules.autoencoder import train as autoencoder
from trainer_modules.common.keras_files import save_grid
from trainer_modules.common.trained import Trained
from trainer_modules.diffusion import train as diffusion
from trainer_modules.diffusion.config import DiffusionConfig
from trainer_modules.diffusion.sampler import Sampler
from trainer_modules.diffusion.signatures import denoise
from trainer_modules.gan import train as gan
from trainer_modules.gan.config import GanConfig
from trainer_modules.gan.sampler import Sampler as GanSampler
from trainer_modules.judge import train as judge

GRAPH = " on the neighbour graph"  # of the codes: in the names of metrics
SIGMA = 0.4  # standard deviation of the noise that is removed, in [0, 1] pixel units
_GRID = 64  # images in a grid
Draw = Callable[[int, int], np.ndarray]  # (count, seed) -> images [count, 28, 28, 1] in [0, 1]


@dataclasses.dataclass(frozen=True)
class Work:
    """One training or sampling of so many images: its metrics and its cost."""

    model: str
    name: str
    figures: dict[str, float]
    seconds: float  # compilation and held-out losses included
    images: int
    flops: int  # per image


def train_all(config: RunConfig, splits: Splits, folder: Path) -> Iterator[Work]:
    """Yields each training and each sampler once it is done; image grids go to ``folder``."""
    _, references, work = train_judge(config, splits, splits.test)
    yield work
    yield from train_judged(config, splits, references, folder)


def train_judged(
    config: RunConfig, splits: Splits, references: References, folder: Path
) -> Iterator[Work]:
    """The same of the models that the judge measures."""
    for train in (train_autoencoder, train_diffusion, train_gan):
        yield from train(config, splits, references, folder)


class Judge:
    """A judge in memory, which ``References`` call as they call a SavedModel."""

    def __init__(self, model: keras.Model):
        self._model = keras.Model(model.input, [model.output, model.get_layer("features").output])

    def run(self, name: str, stage: str = "", *, image: np.ndarray) -> dict[str, np.ndarray]:
        """Features [N, D] and probabilities [N, K] of images."""
        logits, features = self._model.predict(image, batch_size=500, verbose=0)
        return {"features": features, "probabilities": softmax(logits, axis=1)}


def train_judge(
    config: RunConfig, splits: Splits, target: Digits
) -> tuple[keras.Model, References, Work]:
    """The judge, the reference values of ``target`` under it, and its accuracy there."""
    settings = config.judge
    trained, seconds = _timed(judge.train, settings, splits.train, splits.held_out)
    [model] = trained.served().values()
    references = references_of(model, config, splits, target)
    figures = {"accuracy": references.judge_accuracy}
    return model, references, _work(trained, settings, figures, seconds, step_flops(model))


def references_of(
    judge: keras.Model, config: RunConfig, splits: Splits, target: Digits
) -> References:
    """The reference values of ``target`` under a judge that is trained."""
    data = EvalData(
        test_images=target.images,
        test_labels=target.labels,
        train_images=splits.train.images,
        num_classes=splits.train.num_classes,
        train_labels=splits.train.labels,
        held_out_images=splits.held_out.images,
    )
    own: Any = Judge(judge)
    return References(data, own, config.evaluator)


def measure_sampler(
    references: References, model: str, work: str, flops: int, draw: Draw, folder: Path
) -> Work:
    """Generates ``references.samples`` images and measures them.

    The seconds are those of all calls but the first, which compiles.
    """
    count, seed = references.samples, references.config.seed
    batch = min(references.config.batch_size, count // 2)
    parts, begun = [draw(batch, seed * 1_000_003)], time.perf_counter()
    while len(parts) * batch < count:
        parts.append(draw(batch, seed * 1_000_003 + len(parts)))
    seconds = time.perf_counter() - begun
    images = np.concatenate(parts)[:count]
    save_grid(images[:_GRID], folder / f"{model}.png")
    scores, floor = references.score(references.judge(images)), references.floor
    figures = {
        "FD": scores.frechet_distance,
        "FD / floor": scores.frechet_distance / floor.frechet_distance,
        "Inception Score": scores.inception_score,
        "Inception Score of real images": references.test_inception_score[0],
        "class TV": scores.class_tv,
        "images": count,
    }
    return Work(model, work, figures, seconds, (len(parts) - 1) * batch, flops)


def train_autoencoder(
    config: RunConfig, splits: Splits, references: References, folder: Path
) -> Iterator[Work]:
    """First training and fine-tuning: the error, compared with PCA, and K-Means on the code."""
    test, size = splits.test.images, config.autoencoder.code_size
    linear = float(squared_error(test, pca_reconstruction(test, references.pixels, size)).mean())
    errors = []  # [N] of each stage
    networks: dict[str, keras.Model] = {}
    for stage in ("train", "finetune"):
        if stage == "train":
            settings, contrastive = config.autoencoder, config.autoencoder.contrastive_weight > 0
            trained, seconds = _timed(autoencoder.train, settings, splits.train, splits.held_out)
        else:
            settings, contrastive = config.finetune_autoencoder, False
            data = splits.train, splits.held_out
            trained, seconds = _timed(autoencoder.finetune, settings, networks.__getitem__, *data)
        networks = trained.served()
        encoder, decoder = networks.values()
        flops = autoencoder_flops(encoder, decoder, contrastive)
        code = encoder.predict(test, batch_size=500, verbose=0)
        logits = decoder.predict(code, batch_size=500, verbose=0)
        drawn = expit(logits)
        save_grid(drawn[:_GRID], folder / f"autoencoder-{stage}.png")
        errors.append(squared_error(test, drawn))
        figures = {"MSE": float(errors[-1].mean()), f"MSE of PCA to {size} numbers": linear}
        figures |= cluster_figures(references, code)
        if stage == "finetune":
            figures |= _gain("MSE saved by fine-tuning", errors[0] - errors[1], config)
        yield _work(trained, settings, figures, seconds, flops)


def cluster_figures(references: References, code: np.ndarray) -> dict[str, float]:
    """Agreement with the classes of K-Means on the code and on its neighbour graph."""
    config, labels, clusters = references.config, references.data.test_labels, references.clusters
    placed = embed_graph(neighbour_graph(code), clusters, config.seed)
    figures = {}
    for where, points in (("", code), (GRAPH, placed)):
        found = kmeans_runs(points, labels, clusters, config.kmeans_seeds, config.seed)
        figures[f"K-Means accuracy{where}"] = found.mean("accuracy")
        figures[f"NMI{where}"] = found.mean("nmi")
    return figures


def train_diffusion(
    config: RunConfig, splits: Splits, references: References, folder: Path
) -> Iterator[Work]:
    """First training, its sampler, and fine-tuning of a copy for denoising."""
    settings, train = config.diffusion, splits.train
    mean, std = train.pixel_mean, train.pixel_std
    clean = splits.test.images[: config.evaluator.denoising_images]
    noisy = add_noise(clean, SIGMA, config.evaluator.seed)
    linear = float(psnr(clean, linear_optimum(noisy, train.images, SIGMA)).mean())

    decibels = []  # [N] of each stage

    def figures(network: keras.Model) -> dict[str, float]:
        drawn = denoised(network, noisy, mean, std)
        decibels.append(psnr(clean, drawn))
        return {
            "PSNR in dB": float(decibels[-1].mean()),
            "SSIM": float(ssim(clean, drawn).mean()),
            f"PSNR of the input at noise {SIGMA}": float(psnr(clean, noisy).mean()),
            "PSNR of the linear optimum": linear,
        }

    trained, seconds = _timed(diffusion.train, settings, train, splits.held_out)
    [network] = trained.served().values()
    yield _work(trained, settings, figures(network), seconds, step_flops(network))

    steps = config.evaluator.generate_steps
    draw, flops = diffusion_draw(network, settings, train, steps)
    yield measure_sampler(references, "diffusion", f"generate, {steps} steps", flops, draw, folder)

    settings, base = config.finetune_diffusion, {"network": network}
    trained, seconds = _timed(
        diffusion.finetune, settings, base.__getitem__, train, splits.held_out
    )
    [denoiser] = trained.served().values()
    save_grid(noisy[:_GRID], folder / "noisy.png")
    save_grid(denoised(denoiser, noisy[:_GRID], mean, std), folder / "denoised.png")
    found = figures(denoiser)
    found |= _gain("dB gained by fine-tuning", decibels[1] - decibels[0], config)
    yield _work(trained, settings, found, seconds, step_flops(denoiser))


def diffusion_draw(
    network: keras.Model, settings: DiffusionConfig, train: Digits, steps: int
) -> tuple[Draw, int]:
    """The sampler of ``network`` in ``steps`` calls, and its operations per image."""
    generator = diffusion.generator_of(network, settings, train)
    sampler = Sampler(generator, steps, train.pixel_mean, train.pixel_std)
    return _draw_of(sampler), steps * forward_flops(generator)


def train_gan(
    config: RunConfig, splits: Splits, references: References, folder: Path
) -> Iterator[Work]:
    """Training and sampling; the metric of the training is the final balance of the networks."""
    settings = config.gan
    trained, seconds = _timed(gan.train, settings, splits.train, splits.held_out)
    networks, history = trained.served(), trained.history
    accuracy = float(np.mean(history.curves["discriminator_accuracy"][-1000:]))
    figures = {"discriminator right on": accuracy, "events": len(history.events)}
    yield _work(trained, settings, figures, seconds, gan_flops(**networks))

    draw, flops = gan_draw(networks, settings, splits.train)
    yield measure_sampler(references, "gan", "generate", flops, draw, folder)


def gan_draw(
    networks: Mapping[str, keras.Model], settings: GanConfig, train: Digits
) -> tuple[Draw, int]:
    """The sampler of the GAN, and its operations per image."""
    calibration = gan.calibrate_scores(**networks, seed=settings.seed, train=train)
    return _draw_of(GanSampler(**networks, slope=calibration.slope)), gan_draw_flops(**networks)


def _draw_of(sampler: Sampler | GanSampler) -> Draw:
    return lambda count, seed: sampler.predict_on_batch(sampler.noise(count, seed))


def _gain(name: str, gains: np.ndarray, config: RunConfig) -> dict[str, float]:
    """Mean of ``gains`` [N], one per image and so in pairs, and the lower end of its interval."""
    mean, settings = float(gains.mean()), config.evaluator
    replicates = mean_replicates(gains, settings.bootstrap_replicates, settings.seed)
    return {name: mean, f"{name}, lower end": interval(mean, replicates)[0]}


def denoised(
    network: keras.Model, noisy: np.ndarray, mean: float, std: float, sigma: float = SIGMA
) -> np.ndarray:
    """Images [N, 28, 28, 1], 500 at a time, from those with noise ``sigma``."""
    parts = [noisy[i : i + 500] for i in range(0, len(noisy), 500)]
    found = [
        denoise(network, part, np.full(len(part), sigma, "float32"), mean, std) for part in parts
    ]
    return np.concatenate([keras.ops.convert_to_numpy(part) for part in found])


def _timed(recipe: Callable[..., Trained], *arguments) -> tuple[Trained, float]:
    begun = time.perf_counter()
    trained = recipe(*arguments)
    return trained, time.perf_counter() - begun


def _work(trained: Trained, settings, figures, seconds: float, flops: int) -> Work:
    history = trained.history
    images = history.steps * settings.batch_size
    return Work(history.model, history.stage, figures, seconds, images, flops)
