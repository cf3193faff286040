"""Denoising compared with the noisy input, two filters and the linear optimum.

The same test images at every noise level, and the same for each method. The filters' settings are
chosen on train images. 2,000 images at six levels take some forty seconds on two cores; the
references are computed once for candidate and champion.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from components.evaluator.catalogue import denoising as denoising_metrics
from components.evaluator.catalogue import level_name
from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part, mean_row
from components.evaluator.metrics import denoising, filters, reconstruction
from components.evaluator.parts import plots
from components.evaluator.references import References
from components.evaluator.results import Plot, Table
from components.evaluator.saved_model import LoadedModel

NOISY, LINEAR = "noisy input", "linear optimum (LMMSE)"
GAUSSIAN, NON_LOCAL = "Gaussian filter", "non-local means"
_STRIP = 10  # digits in the plot
_TUNING_IMAGES = 100  # train images on which the filters are set
_SCORES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "accuracy": "judge's accuracy"}
_DIGITS = {"psnr": 2, "ssim": 3, "accuracy": 4}


@dataclasses.dataclass(frozen=True)
class Denoised:
    """Scores of one method on the noisy test images: [N] each."""

    psnr: np.ndarray  # dB
    ssim: np.ndarray
    accuracy: np.ndarray  # whether the judge finds the true class


@dataclasses.dataclass(frozen=True)
class Noisy:
    """Test images under one noise level, and the methods that need no training."""

    clean: np.ndarray  # [N, 28, 28, 1]
    noisy: np.ndarray  # the same plus noise, clipped to [0, 1]
    settings: filters.Filters
    methods: Mapping[str, Denoised]  # by name


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """PSNR, SSIM and the judge's accuracy at every noise level."""
    return (Part("denoising", "denoising", denoising_metrics(config.noise_levels), measure),)


def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """The denoised test images compared with the clean ones, and with other methods."""
    config, noise_levels = references.config, references.config.noise_levels
    rows, strips, found = [], [], []
    for sigma in noise_levels:
        given, level = noisy_digits(references, sigma), level_name(sigma)
        images = _denoise(model, given.noisy, sigma, f"{stage} at noise {sigma:g}")
        own, linear = _scored(references, given.clean, images), given.methods[LINEAR]
        noisy, gain = given.methods[NOISY], own.psnr - linear.psnr
        rows += [
            mean_row(f"denoising_psnr_{level}", own.psnr, config, noisy.psnr),
            mean_row(f"denoising_gain_{level}", gain, config, 0.0),
            mean_row(f"denoising_ssim_{level}", own.ssim, config, linear.ssim),
            mean_row(f"denoising_accuracy_{level}", own.accuracy, config, linear.accuracy),
        ]
        found.append({"model": own, **given.methods})
        strips += [given.noisy[:_STRIP], np.array(images[:_STRIP])]
    if not draw:
        return Measured(rows)
    given = [noisy_digits(references, sigma) for sigma in noise_levels]
    clean = given[0].clean
    pictures = [
        _strip_picture(noise_levels, clean[:_STRIP], strips),
        _curves(noise_levels, found, len(clean)),
    ]
    tables = [_table(score, noise_levels, found, len(clean)) for score in _SCORES]
    tables.append(_settings_table(noise_levels, [level.settings for level in given]))
    return Measured(rows, pictures, tables)


def _denoise(model: LoadedModel, noisy: np.ndarray, sigma: float, stage: str) -> np.ndarray:
    """Denoised images; passes the noise level to a model that takes it."""
    takes_level = "noise_level" in model.inputs("denoise")
    level = {"noise_level": np.full(len(noisy), sigma, np.float32)} if takes_level else {}
    return model.run("denoise", stage, image=noisy, **level)["image"]


def noisy_digits(references: References, sigma: float) -> Noisy:
    """Test images with noise of standard deviation ``sigma``, and each method's result; cached."""

    def compute() -> Noisy:
        config, data = references.config, references.data
        clean = data.test_images[references.test_part(config.denoising_images)]
        noisy = denoising.add_noise(clean, sigma, config.seed)
        train = references.floor_images[:_TUNING_IMAGES]  # train images in random order
        train_noisy = denoising.add_noise(train, sigma, config.seed + 1)
        settings = filters.choose_filters(train, train_noisy, sigma)
        images = {
            LINEAR: denoising.linear_optimum(noisy, data.train_images, sigma),
            NON_LOCAL: filters.non_local_means(noisy, settings.strength),
            GAUSSIAN: filters.gaussian(noisy, settings.width),
            NOISY: noisy,
        }
        methods = {name: _scored(references, clean, found) for name, found in images.items()}
        return Noisy(clean, noisy, settings, methods)

    return references.once(("noisy", sigma), compute)


def _scored(references: References, clean: np.ndarray, images: np.ndarray) -> Denoised:
    part = references.test_part(len(clean))
    return Denoised(
        psnr=reconstruction.psnr(clean, images),
        ssim=reconstruction.ssim(clean, images),
        accuracy=references.judge(images).classes == references.data.test_labels[part],
    )


def _strip_picture(
    noise_levels: Sequence[float], clean: np.ndarray, strips: Sequence[np.ndarray]
) -> Plot:
    labels = ["original"]
    for sigma in noise_levels:
        labels += [f"noise {sigma:g}", "denoised"]
    return Plot(
        "figures/denoising.png",
        "Denoising",
        "Original test digits, then for each noise level (standard deviation, pixels in 0..1) the "
        "noisy input and the model's output. The digits were chosen at random.",
        plots.image_rows([clean, *strips], labels),
    )


def _curves(
    noise_levels: Sequence[float], found: Sequence[Mapping[str, Denoised]], count: int
) -> Plot:
    panels = {
        words: {
            name: [float(getattr(level[name], score).mean()) for level in found]
            for name in found[0]
        }
        for score, words in _SCORES.items()
    }
    return Plot(
        "figures/denoising_curves.png",
        "Denoising over the noise level",
        f"Means over {count:,} test images; higher is better. Noise is clipped to 0..1 as in a "
        "stored image. The linear optimum and the filters were fitted to train images.",
        plots.lines(list(noise_levels), panels, "noise (standard deviation, pixels in 0..1)"),
        is_chart=True,
    )


def _table(
    score: str,
    noise_levels: Sequence[float],
    found: Sequence[Mapping[str, Denoised]],
    count: int,
) -> Table:
    names = list(reversed(found[0]))
    return Table(
        f"Denoising: {_SCORES[score]}, mean over {count:,} test images",
        ("noise", *names),
        [
            [sigma, *(round(float(getattr(level[n], score).mean()), _DIGITS[score]) for n in names)]
            for sigma, level in zip(noise_levels, found, strict=True)
        ],
    )


def _settings_table(noise_levels: Sequence[float], settings: Sequence[filters.Filters]) -> Table:
    return Table(
        f"Denoising: settings of the filters, of least error on {_TUNING_IMAGES} train images",
        ("noise", "Gaussian: standard deviation (pixels)", "non-local means: h"),
        [
            [sigma, chosen.width, round(chosen.strength, 3)]
            for sigma, chosen in zip(noise_levels, settings, strict=True)
        ],
    )
