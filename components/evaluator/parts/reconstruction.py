"""Reconstruction of the test images, compared with PCA at several code sizes.

Every metric is a mean over the test images, so its interval comes from resampling those. About ten
seconds on two cores for 10,000 images.
"""

import numpy as np

from components.evaluator.catalogue import RECONSTRUCTION
from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part, Row, mean_row
from components.evaluator.metrics import reconstruction
from components.evaluator.metrics.bootstrap import bootstrap
from components.evaluator.metrics.reconstruction import Errors
from components.evaluator.parts import plots
from components.evaluator.references import References
from components.evaluator.results import Plot, Table
from components.evaluator.saved_model import LoadedModel

_PCA_SIZES = (8, 16, 32, 64)  # dimensions of the code
_SHOWN = 12  # digits per row of a plot


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """Error, structure and legibility of the reconstructions, and the size of the code."""
    return (Part("reconstruction", "reconstruction", RECONSTRUCTION, measure),)


def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """Errors of the reconstructed test images, and of PCA with a code of the same size."""
    images, config = references.data.test_images, references.config
    output = model.run("serving_default", stage, image=images)["image"]
    size = model.size_of("encode", "code")
    found, linear = reconstruction.errors(images, output), pca_errors(references, size)
    entropy = reconstruction.cross_entropy(images, output)
    least = reconstruction.entropy_floor(images)
    judged = references.judge(output, f"{stage}, judged").classes == references.data.test_labels
    ratios = bootstrap(
        lambda part: _ratio(found.mse[part], linear.mse[part]),
        len(images),
        config.bootstrap_replicates,
        config.seed,
    )
    compression = reconstruction.compression_ratio(images[0].size, size)
    lossless = references.once(("zlib",), lambda: reconstruction.lossless_ratio(images))
    rows = [
        mean_row("reconstruction_mse", found.mse, config, linear.mse),
        Row("mse_over_pca", _ratio(found.mse, linear.mse), 1.0, ratios),
        mean_row("reconstruction_bce", entropy, config, least),
        mean_row("reconstruction_psnr", found.psnr, config, linear.psnr),
        mean_row("reconstruction_ssim", found.ssim, config, linear.ssim),
        mean_row("reconstruction_accuracy", judged, config, references.judge_accuracy),
        Row("reconstruction_compression", compression, lossless),
    ]
    if not draw:
        return Measured(rows)
    sizes = sorted({*_PCA_SIZES, size})
    pca = {s: pca_errors(references, s) for s in sizes if s < images[0].size}
    pictures = [_pairs(references, output, size), _curve(pca, found, size, len(images))]
    tables = [_table(pca, found, size, len(images), images[0].size)]
    return Measured(rows, pictures, tables)


def pca_errors(references: References, size: int) -> Errors:
    """Errors of the test images through PCA with ``size`` components of the train split."""

    def compute() -> Errors:
        images = references.data.test_images
        linear = reconstruction.pca_reconstruction(images, references.pixels, size)
        return reconstruction.errors(images, linear)

    return references.once(("PCA", size), compute)


def _ratio(model: np.ndarray, linear: np.ndarray) -> float:
    return float(model.mean() / max(linear.mean(), 1e-12))


def _pairs(references: References, output: np.ndarray, size: int) -> Plot:
    images, shown = references.data.test_images, references.test_part(2 * _SHOWN)
    rows = [
        x[part] for part in (shown[:_SHOWN], shown[_SHOWN:]) for x in (images, output) if len(part)
    ]
    return Plot(
        "figures/reconstruction.png",
        "Reconstructions",
        f"Test digits chosen at random, each above its reconstruction from {size} dimensions.",
        plots.image_rows(rows, ["original", "model"] * (len(rows) // 2)),
    )


def _curve(pca: dict[int, Errors], found: Errors, size: int, count: int) -> Plot:
    return Plot(
        "figures/reconstruction_error.png",
        "Reconstruction error over the size of the code",
        f"Mean squared error per pixel on {count:,} test images, pixels in 0..1. PCA is the best "
        "linear code of each size, fitted on the train split.",
        plots.size_curve(
            list(pca),
            [float(errors.mse.mean()) for errors in pca.values()],
            (size, float(found.mse.mean())),
        ),
        is_chart=True,
    )


def _table(pca: dict[int, Errors], found: Errors, size: int, count: int, pixels: int) -> Table:
    rows = [(f"PCA, {s} dimensions", s, errors) for s, errors in pca.items()]
    rows.append((f"autoencoder, {size} dimensions", size, found))
    return Table(
        f"Reconstruction of {count:,} test images; compression is {pixels} bytes of pixels over "
        "four bytes per dimension of the code",
        ("code", "compression", "MSE", "PSNR (dB)", "SSIM"),
        [
            [
                name,
                round(reconstruction.compression_ratio(pixels, s), 2),
                round(float(e.mse.mean()), 5),
                round(float(e.psnr.mean()), 2),
                round(float(e.ssim.mean()), 3),
            ]
            for name, s, e in rows
        ],
    )
