"""Names and words of every figure the Evaluator can measure, per model.

Contract: ``catalogue(model, noise_levels)`` maps a metric's name to its words, in the order of the
report. Gates may only name what stands here, so a slip in a profile is told before the training,
and a figure that could not be measured is still shown, as missing. Imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

MODELS = ("autoencoder", "diffusion", "gan")


@dataclasses.dataclass(frozen=True)
class Metric:
    """Words of one figure; ``better`` is lower, higher, or None where neither is."""

    name: str
    title: str
    better: str | None
    description: str
    floor_title: str = ""


_JUDGE = Metric(
    "judge_accuracy",
    "Judge: accuracy on real test images",
    "higher",
    "Share of the test images that the judge classifies right. Its features and labels stand "
    "behind the figures below, which mean nothing if it is poor.",
)

_GENERATION = (
    Metric(
        "frechet_distance",
        "Fréchet distance (FD) on the judge's features",
        "lower",
        "Between Gaussians fitted to the features of generated and of real test images. Not FID: "
        "the features are the judge's, so the number compares only under the same judge.",
        "real train images, as many, against the same test images",
    ),
    Metric(
        "fd_over_floor",
        "FD as a multiple of its floor",
        "lower",
        "1 would mean as close to the test images as other real images are. This ratio is the part "
        "of the FD that carries over to another judge.",
        "real train images",
    ),
    Metric(
        "inception_score",
        "Inception Score under the judge",
        "higher",
        "exp of the mean KL divergence between the judge's verdict on one image and its mean "
        "verdict; from 1 to the number of classes. It sees lost classes and noise, hardly blur.",
        "real test images",
    ),
    Metric(
        "class_tv",
        "Class histogram: total variation distance",
        "lower",
        "Half the summed difference between the shares of the classes, as the judge labels "
        "generated and real test images. 0 is the same histogram, 1 no class in common.",
        "real train images, as many",
    ),
    Metric(
        "missing_modes",
        "Classes that are missing",
        "lower",
        "Classes that get less than a tenth of their real share among the generated images.",
        "real train images, as many",
    ),
)

_RECONSTRUCTION = (
    Metric(
        "reconstruction_mse",
        "Reconstruction: mean squared error per pixel",
        "lower",
        "On the test images, pixels in 0..1.",
        "PCA with a code of the same size",
    ),
    Metric(
        "mse_over_pca",
        "Reconstruction error as a multiple of PCA's",
        "lower",
        "PCA is the best linear autoencoder; it is fitted on the train split at this code size.",
        "PCA",
    ),
    Metric(
        "reconstruction_bce",
        "Reconstruction: binary cross-entropy (nats per pixel)",
        "lower",
        "Grey pixels have an entropy of their own, which no model can go below: judge the "
        "difference to it.",
        "entropy of the test images",
    ),
    Metric(
        "reconstruction_psnr",
        "Reconstruction: PSNR (dB)",
        "higher",
        "Peak signal-to-noise ratio, mean over the test images.",
        "PCA with a code of the same size",
    ),
    Metric(
        "reconstruction_ssim",
        "Reconstruction: SSIM",
        "higher",
        "Structural similarity, Gaussian window of 1.5 pixels, mean over the test images.",
        "PCA with a code of the same size",
    ),
    Metric(
        "reconstruction_accuracy",
        "Judge's accuracy on the reconstructions",
        "higher",
        "Share of the reconstructed test images that the judge still classifies right.",
        "the judge on the originals",
    ),
)

_CLUSTERS = (
    Metric(
        "kmeans_accuracy",
        "K-Means on the code: accuracy",
        "higher",
        "Share of test images in the right cluster under the best one-to-one matching of clusters "
        "to classes (Hungarian method). No label was used to find the clusters.",
        "K-Means on the pixels",
    ),
    Metric(
        "kmeans_nmi",
        "K-Means on the code: normalised mutual information",
        "higher",
        "Between clusters and classes; 0 is none, 1 the same partition.",
        "K-Means on the pixels",
    ),
    Metric(
        "kmeans_ari",
        "K-Means on the code: adjusted Rand index",
        "higher",
        "Agreement on pairs of images, 0 by chance, 1 the same partition.",
        "K-Means on the pixels",
    ),
    Metric(
        "kmeans_nmi_gain",
        "K-Means: mutual information gained over the pixels",
        "higher",
        "NMI on the code minus NMI on the pixels: above 0 the code separates the classes better.",
    ),
    Metric(
        "tsne_trustworthiness",
        "t-SNE of the code: trustworthiness",
        "higher",
        "Share of neighbours on the map that are true neighbours in the code (12 neighbours).",
    ),
    Metric(
        "tsne_knn_accuracy",
        "t-SNE of the code: class of the 10 nearest on the map",
        "higher",
        "Share of images whose class is the majority among their 10 nearest others on the map.",
        "the same in the code itself",
    ),
)

_ANOMALY = (
    Metric(
        "anomaly_auroc",
        "Anomaly detection: mean AUROC over the corruptions",
        "higher",
        "Chance that a corrupted test digit gets a higher anomaly score than an intact one; 0.5 is "
        "guessing. Every corruption is listed below.",
    ),
)

_DISCRIMINATOR = (
    Metric(
        "discriminator_accuracy",
        "Discriminator: accuracy on held-out reals and fakes",
        None,
        "Mean of the two figures below. Near 50 % can mean that fakes are as good as reals, but "
        "equally that the discriminator is dead or was never strong: it is no proof of quality "
        "without a low FD. Far above 50 % means it still sees a difference.",
        "guessing",
    ),
    Metric(
        "discriminator_accuracy_real",
        "Discriminator: real test images called real",
        None,
        "Share of the test images, never seen in training, with a score above one half.",
        "guessing",
    ),
    Metric(
        "discriminator_accuracy_fake",
        "Discriminator: generated images called fake",
        None,
        "Share of newly generated images with a score of at most one half.",
        "guessing",
    ),
    Metric(
        "discriminator_pairwise",
        "Discriminator: real above fake in a random pair",
        None,
        "The loss compares pairs, so this needs no cut-off: 50 % means it cannot order a pair.",
        "guessing",
    ),
)


def catalogue(model: str, noise_levels: Sequence[float]) -> Mapping[str, Metric]:
    """Every metric of ``model`` by name, in the order of the report."""
    denoising = _denoising(noise_levels)
    metrics = {
        "autoencoder": (*_RECONSTRUCTION, *_CLUSTERS, *denoising, *_ANOMALY, _JUDGE),
        "diffusion": (*_GENERATION, *denoising, _JUDGE),
        "gan": (*_GENERATION, *_DISCRIMINATOR, _JUDGE),
    }[model]
    return {metric.name: metric for metric in metrics}


def level_name(sigma: float) -> str:
    """The noise level in hundredths, as metric names carry it: 0.4 -> "40"."""
    return f"{round(100 * sigma):02d}"


def _denoising(noise_levels: Sequence[float]) -> list[Metric]:
    metrics = []
    for sigma in noise_levels:
        name = level_name(sigma)
        metrics += [
            Metric(
                f"denoising_psnr_{name}",
                f"Denoising at noise {sigma:g}: PSNR (dB)",
                "higher",
                f"Test images plus Gaussian noise of deviation {sigma:g}, clipped to 0..1; mean "
                "over the images.",
                "noisy input",
            ),
            Metric(
                f"denoising_gain_{name}",
                f"Denoising at noise {sigma:g}: gain over the linear optimum (dB)",
                "higher",
                "PSNR minus that of the linear estimator of least error (LMMSE), which knows the "
                "covariance of the train images and sees the noise unclipped.",
            ),
            Metric(
                f"denoising_ssim_{name}",
                f"Denoising at noise {sigma:g}: SSIM",
                "higher",
                "Structural similarity to the clean image, mean over the images.",
                "linear optimum (LMMSE)",
            ),
        ]
    return metrics
