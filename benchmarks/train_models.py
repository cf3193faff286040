"""Trains each model and measures it on the test images, on any Keras backend and without TFX.

Contract: settings and training loops are the pipeline's, the metrics its Evaluator's. Every metric
has its reference: PCA of equal size, the noisy input and the linear optimum, or real images. Test
images are used for the metrics only. Image grids are the first 64 images of a seed.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np

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
from components.evaluator.metrics.frechet import frechet_distance_of
from components.evaluator.metrics.inception_score import (
    class_histogram,
    inception_score,
    total_variation,
)
from components.evaluator.metrics.reconstruction import (
    PixelStatistics,
    pca_reconstruction,
    pixel_statistics,
    psnr,
    squared_error,
    ssim,
)
from core.digits import Digits
from pipeline.config import RunConfig
from trainer_modules.autoencoder import train as autoencoder
from trainer_modules.common.keras_files import save_grid
from trainer_modules.common.trained import Trained
from trainer_modules.diffusion import train as diffusion
from trainer_modules.diffusion.config import DiffusionConfig
from trainer_modules.diffusion.sampler import ETA, Sampler
from trainer_modules.diffusion.signatures import denoise
from trainer_modules.gan import train as gan
from trainer_modules.gan.config import GanConfig
from trainer_modules.gan.sampler import Sampler as GanSampler
from trainer_modules.judge import train as judge

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
    model, work = train_judge(config, splits)
    yield work
    judged = Judge(model, config, splits.train.images, splits.test.images)
    statistics = pixel_statistics(splits.train.images)
    yield from train_autoencoder(config, splits, statistics, folder)
    yield from train_diffusion(config, splits, judged, folder)
    yield from train_gan(config, splits, judged, folder)


class Judge:
    """The trained judge, and how far ``train`` images are from ``target``'s in its features."""

    def __init__(
        self, model: keras.Model, config: RunConfig, train: np.ndarray, target: np.ndarray
    ):
        self._model = keras.Model(model.input, [model.output, model.get_layer("features").output])
        self._config = config.evaluator
        self.samples = min(self._config.samples, len(train))
        part = np.random.default_rng(self._config.seed).permutation(len(train))[: self.samples]
        self._target, self._real = self._look(target)
        self._floor = frechet_distance_of(self._look(train[part])[0], self._target)

    def figures(self, images: np.ndarray) -> dict[str, float]:
        """Fréchet distance, also over that of as many train images; Inception Score; classes."""
        features, probabilities = self._look(images)
        distance = frechet_distance_of(features, self._target)
        (score, _), (real, _) = (
            inception_score(p, self._config.inception_splits) for p in (probabilities, self._real)
        )
        return {
            "FD": distance,
            "FD / floor": distance / self._floor,
            "Inception Score": score,
            "Inception Score of real images": real,
            "class TV": total_variation(*map(class_histogram, (probabilities, self._real))),
        }

    def draw(self, model: str, work: str, flops: int, draw: Draw, folder: Path) -> Work:
        """Generates ``samples`` images and measures them.

        The seconds are those of all calls but the first, which compiles.
        """
        batch, seed = min(self._config.batch_size, self.samples // 2), self._config.seed
        parts, begun = [draw(batch, seed * 1_000_003)], time.perf_counter()
        while len(parts) * batch < self.samples:
            parts.append(draw(batch, seed * 1_000_003 + len(parts)))
        seconds = time.perf_counter() - begun
        images = np.concatenate(parts)[: self.samples]
        save_grid(images[:_GRID], folder / f"{model}.png")
        figures = {**self.figures(images), "images": len(images)}
        return Work(model, work, figures, seconds, (len(parts) - 1) * batch, flops)

    def _look(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Features [N, D] and probabilities [N, K]."""
        logits, features = self._model.predict(images, batch_size=500, verbose=0)
        logits = logits - logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)
        return features, shares / shares.sum(axis=1, keepdims=True)


def train_judge(config: RunConfig, splits: Splits) -> tuple[keras.Model, Work]:
    """The judge, and its accuracy."""
    settings, test = config.judge, splits.test
    trained, seconds = _timed(judge.train, settings, splits.train, splits.held_out)
    [model] = trained.served().values()
    classes = model.predict(test.images, batch_size=500, verbose=0).argmax(axis=1)
    figures = {"accuracy": float(np.mean(classes == test.labels))}
    return model, _work(trained, settings, figures, seconds, step_flops(model))


def train_autoencoder(
    config: RunConfig, splits: Splits, statistics: PixelStatistics, folder: Path
) -> Iterator[Work]:
    """First training and fine-tuning: the error, compared with PCA, and K-Means on the code."""
    test, size = splits.test.images, config.autoencoder.code_size
    linear = float(squared_error(test, pca_reconstruction(test, statistics, size)).mean())
    clusters = (splits.train.num_classes, config.evaluator.kmeans_seeds, config.evaluator.seed)
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
        drawn = 1.0 / (1.0 + np.exp(-logits))
        save_grid(drawn[:_GRID], folder / f"autoencoder-{stage}.png")
        found = kmeans_runs(code, splits.test.labels, *clusters)
        errors.append(squared_error(test, drawn))
        figures = {
            "MSE": float(errors[-1].mean()),
            f"MSE of PCA to {size} numbers": linear,
            "K-Means accuracy": found.mean("accuracy"),
            "NMI": found.mean("nmi"),
        }
        if stage == "finetune":
            figures |= _gain("MSE saved by fine-tuning", errors[0] - errors[1], config)
        yield _work(trained, settings, figures, seconds, flops)


def train_diffusion(
    config: RunConfig, splits: Splits, judged: Judge, folder: Path
) -> Iterator[Work]:
    """First training, its sampler, and fine-tuning of a copy for denoising."""
    settings, train = config.diffusion, splits.train
    mean, std = train.pixel_mean, train.pixel_std
    clean = splits.test.images[: config.evaluator.denoising_images]
    noisy = add_noise(clean, SIGMA, config.evaluator.seed)
    linear = float(psnr(clean, linear_optimum(noisy, train.images, SIGMA)).mean())

    decibels = []  # [N] of each stage

    def figures(network: keras.Model) -> dict[str, float]:
        denoised = _denoised(network, noisy, mean, std)
        decibels.append(psnr(clean, denoised))
        return {
            "PSNR in dB": float(decibels[-1].mean()),
            "SSIM": float(ssim(clean, denoised).mean()),
            f"PSNR of the input at noise {SIGMA}": float(psnr(clean, noisy).mean()),
            "PSNR of the linear optimum": linear,
        }

    trained, seconds = _timed(diffusion.train, settings, train, splits.held_out)
    [network] = trained.served().values()
    yield _work(trained, settings, figures(network), seconds, step_flops(network))

    steps = config.evaluator.generate_steps
    draw, flops = diffusion_draw(network, settings, train, steps)
    yield judged.draw("diffusion", f"generate, {steps} steps", flops, draw, folder)

    settings, base = config.finetune_diffusion, {"network": network}
    trained, seconds = _timed(
        diffusion.finetune, settings, base.__getitem__, train, splits.held_out
    )
    [denoiser] = trained.served().values()
    save_grid(noisy[:_GRID], folder / "noisy.png")
    save_grid(_denoised(denoiser, noisy[:_GRID], mean, std), folder / "denoised.png")
    found = figures(denoiser)
    found |= _gain("dB gained by fine-tuning", decibels[1] - decibels[0], config)
    yield _work(trained, settings, found, seconds, step_flops(denoiser))


def diffusion_draw(
    network: keras.Model, settings: DiffusionConfig, train: Digits, steps: int, eta: float = ETA
) -> tuple[Draw, int]:
    """The sampler of ``network`` in ``steps`` calls, and its operations per image."""
    generator = diffusion.generator_of(network, settings, train)
    sampler = Sampler(generator, steps, train.pixel_mean, train.pixel_std, eta)

    def draw(count: int, seed: int) -> np.ndarray:
        return sampler.predict_on_batch(sampler.noise(count, seed))

    return draw, steps * forward_flops(generator)


def train_gan(config: RunConfig, splits: Splits, judged: Judge, folder: Path) -> Iterator[Work]:
    """Training and sampling; the metric of the training is the final balance of the networks."""
    settings = config.gan
    trained, seconds = _timed(gan.train, settings, splits.train, splits.held_out)
    networks, history = trained.served(), trained.history
    accuracy = float(np.mean(history.curves["discriminator_accuracy"][-1000:]))
    figures = {"discriminator right on": accuracy, "events": len(history.events)}
    yield _work(trained, settings, figures, seconds, gan_flops(**networks))

    draw, flops = gan_draw(networks, settings, splits.train)
    yield judged.draw("gan", "generate", flops, draw, folder)


def gan_draw(
    networks: Mapping[str, keras.Model], settings: GanConfig, train: Digits
) -> tuple[Draw, int]:
    """The sampler of the GAN, and its operations per image."""
    calibration = gan.calibrate_scores(**networks, seed=settings.seed, train=train)
    sampler = GanSampler(**networks, slope=calibration.slope)

    def draw(count: int, seed: int) -> np.ndarray:
        return sampler.predict_on_batch(sampler.noise(count, seed))

    return draw, gan_draw_flops(**networks)


def _gain(name: str, gains: np.ndarray, config: RunConfig) -> dict[str, float]:
    """Mean of ``gains`` [N], one per image and so in pairs, and the lower end of its interval."""
    mean, settings = float(gains.mean()), config.evaluator
    replicates = mean_replicates(gains, settings.bootstrap_replicates, settings.seed)
    return {name: mean, f"{name}, lower end": interval(mean, replicates)[0]}


def _denoised(network: keras.Model, noisy: np.ndarray, mean: float, std: float) -> np.ndarray:
    """Images [N, 28, 28, 1], 500 at a time."""
    parts = [noisy[i : i + 500] for i in range(0, len(noisy), 500)]
    found = [
        denoise(network, part, np.full(len(part), SIGMA, "float32"), mean, std) for part in parts
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
