"""Names and descriptions of every metric, by measurement.

Contract: ``catalogue(model, noise_levels)`` maps a metric's name to its description, for the
measurements that the table of models names, in their order. Gates may only name these metrics, so a
typo in a profile is reported before the training, and a metric that could not be measured is shown
as missing. Imports nothing heavy.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from core.models import MODELS

# What metrics are compared with, measured in the same evaluation.
REFERENCES = {
    "real_train": "real train images, as many",
    "real_test": "real test images",
    "held_out": "held-out real images, by definition",
    "pca": "PCA with a code of the same size",
    "pixels": "the same on the pixels",
    "code": "the same in the code itself",
    "components": "the two leading principal components",
    "linear_denoiser": "linear optimum (LMMSE)",
    "noisy_input": "the noisy input",
    "linear_classifier": "a linear classifier of the pixels, fitted to the train split",
    "originals": "the judge on the originals",
    "unaided": "the same network without generated images",
    "entropy": "entropy of the test images",
    "zlib": "zlib on single images, lossless",
    "guessing": "guessing",
}
LABEL_SHARES = (1, 5, 10)  # percent of the train labels in the augmentation metrics


@dataclasses.dataclass(frozen=True)
class Metric:
    """Description of one metric; ``better`` is lower, higher, or None if neither is.

    ``reference`` is a name in ``REFERENCES``: a floor if lower is better, the ceiling of real data
    if higher is. Gates may set their threshold by it.
    """

    name: str
    title: str
    better: str | None
    description: str
    reference: str = ""


GENERATION = (
    Metric(
        "frechet_distance",
        "Fréchet distance (FD) on the judge's features",
        "lower",
        "Between Gaussians fitted to the features of generated and of real test images. Not FID: "
        "the features are the judge's, so the number compares only under the same judge.",
        "real_train",
    ),
    Metric(
        "fd_over_floor",
        "FD as a multiple of its floor",
        "lower",
        "1 would mean as close to the test images as other real images are. This ratio is the part "
        "of the FD that carries over to another judge.",
        "real_train",
    ),
    Metric(
        "fd_infinity",
        "FD extrapolated to infinitely many generated images",
        "lower",
        "A straight line through the FD of growing numbers n of images, over 1/n, extrapolated to "
        "1/n = 0: this removes the bias of a limited number of images. Noise can make it "
        "negative near the floor.",
        "real_train",
    ),
    Metric(
        "kid",
        "KID on the judge's features: squared MMD, cubic kernel",
        "lower",
        "How far the two sets differ under a kernel. It is not biased by their size, so it may be "
        "negative. Features are divided by the root mean square of the test images' features; "
        "compare with the floor, and only under the same judge.",
        "real_train",
    ),
    Metric(
        "inception_score",
        "Inception Score under the judge",
        "higher",
        "exp of the mean KL divergence between the judge's verdict on one image and its mean "
        "verdict; from 1 to the number of classes. It detects lost classes and noise, hardly blur.",
        "real_test",
    ),
    Metric(
        "class_tv",
        "Class histogram: total variation distance",
        "lower",
        "Half the summed difference between the shares of the classes, as the judge labels "
        "generated and real test images. 0 is the same histogram, 1 no class in common.",
        "real_train",
    ),
    Metric(
        "missing_modes",
        "Classes that are missing",
        "lower",
        "Classes that get less than a tenth of their real share among the generated images.",
        "real_train",
    ),
)

DIVERSITY = (
    Metric(
        "precision",
        "Precision: share of generated images among the real ones",
        "higher",
        "Share of the generated images within a ball around some real test image that reaches to "
        "its third neighbour: how realistic they are. It misses blur and mild noise, as vague "
        "digits lie amid the others; recall and FD detect them. Interval: other generated images.",
        "real_train",
    ),
    Metric(
        "recall",
        "Recall: share of real images that could have been generated",
        "higher",
        "Share of the real test images within such a ball around some generated image: how varied "
        "they are. Interval: other test images.",
        "real_train",
    ),
    Metric(
        "precision_recall",
        "Precision and recall together: their harmonic mean",
        "higher",
        "High only if both are: a generator trades one for the other, so a new version is compared "
        "with the champion by both at once.",
        "real_train",
    ),
    Metric(
        "density",
        "Density: how deep generated images lie among real ones",
        "higher",
        "Real balls, to the fifth neighbour, around a generated image, over five; unlike precision "
        "it is not moved by a single odd real image. About 1 for real images, more for generated "
        "ones that crowd where real ones are common.",
        "real_train",
    ),
    Metric(
        "coverage",
        "Coverage: share of real images with a generated one near",
        "higher",
        "Share of the real test images whose ball, to the fifth neighbour, holds a generated one.",
        "real_train",
    ),
)

MEMORISATION = (
    Metric(
        "memorised_share",
        "Memorisation: share of images too close to a train image, in pixels",
        "lower",
        "Closer to the nearest train image than 99 % of the held-out real images of the same class "
        "are. A copier has far more than 1 %; so can smooth images: look at the pairs.",
        "held_out",
    ),
    Metric(
        "memorised_share_features",
        "Memorisation: the same in the judge's features",
        "lower",
        "A copy that is shifted or thickened by a little is far in pixels and close in features.",
        "held_out",
    ),
    Metric(
        "outlying_share",
        "Outliers: share of images too far from every train image, in pixels",
        "lower",
        "Farther from the nearest train image than 99 % of the held-out real images of the same "
        "class are. Images that are no member of any class, such as noise or halves of two digits, "
        "have far more than 1 %.",
        "held_out",
    ),
    Metric(
        "memorisation_p",
        "Memorisation: p-value of the rank test, in pixels",
        "higher",
        "Chance of distances to the train images as low as these, class by class, if generated "
        "images were held-out real ones. Near zero the generated images lie closer; near one they "
        "lie farther, which speaks against copies but not for quality.",
        "held_out",
    ),
)

TWO_SAMPLE = (
    Metric(
        "nearest_neighbour_accuracy",
        "Two-sample test: accuracy of the nearest neighbour",
        "lower",
        "How often the nearest other image, in the judge's features, is of the same kind, real or "
        "generated. 50 %: the two are indistinguishable; far below: copies of single real images.",
        "real_train",
    ),
    Metric(
        "classifier_accuracy",
        "Two-sample test: accuracy of a freshly trained network",
        "lower",
        "A small network learns real from generated on one half of the images and is tested on the "
        "other. 50 %: it finds no difference; 100 %: every image gives itself away.",
        "real_train",
    ),
)

SYNTHETIC = (
    Metric(
        "synthetic_accuracy",
        "Train on synthetic, test on real: accuracy",
        "higher",
        "A small network learns digits from generated images only and is tested on the real test "
        "images. The judge labelled the generated images, as the model knows no classes: that "
        "is weaker evidence than a model that generates a requested digit.",
        "real_train",
    ),
)

AUGMENTATION = tuple(
    Metric(
        f"augmented_accuracy_{share:02d}",
        f"Augmentation: accuracy with {share} % of the labels and generated images",
        "higher",
        "A small network learns from a few labelled train images; it labels the generated "
        "images itself, without the judge, and learns again from both. Mean of three choices.",
        "unaided",
    )
    for share in LABEL_SHARES
)

FID = (
    Metric(
        "fid",
        "FID: Fréchet distance on Inception-v3's pool3 features",
        "lower",
        "Keras' Inception-v3 on images enlarged to 299 x 299. Those weights are not the ones of "
        "2015 behind published FIDs, and Inception knows no digits: compare with the floor only.",
        "real_train",
    ),
)

RECONSTRUCTION = (
    Metric(
        "reconstruction_mse",
        "Reconstruction: mean squared error per pixel",
        "lower",
        "On the test images, pixels in 0..1.",
        "pca",
    ),
    Metric(
        "mse_over_pca",
        "Reconstruction error as a multiple of PCA's",
        "lower",
        "PCA is the best linear autoencoder; it is fitted on the train split at this code size.",
        "pca",
    ),
    Metric(
        "reconstruction_bce",
        "Reconstruction: binary cross-entropy (nats per pixel)",
        "lower",
        "Grey pixels have an entropy of their own, which is a lower bound for any model: look at "
        "the difference from it.",
        "entropy",
    ),
    Metric(
        "reconstruction_psnr",
        "Reconstruction: PSNR (dB)",
        "higher",
        "Peak signal-to-noise ratio, mean over the test images.",
        "pca",
    ),
    Metric(
        "reconstruction_ssim",
        "Reconstruction: SSIM",
        "higher",
        "Structural similarity, Gaussian window of 1.5 pixels, mean over the whole image, border "
        "included, and over the test images; scikit-image's default has no border and is lower.",
        "pca",
    ),
    Metric(
        "reconstruction_accuracy",
        "Judge's accuracy on the reconstructions",
        "higher",
        "Share of the reconstructed test images that the judge still classifies correctly.",
        "originals",
    ),
    Metric(
        "reconstruction_compression",
        "Compression ratio of the code",
        "higher",
        "Bytes of an image's pixels, one each, over those of its code, four per dimension, as it "
        "is served. The reference is lossless, the code is not: compare the errors too.",
        "zlib",
    ),
)

CLUSTERS = (
    Metric(
        "kmeans_accuracy",
        "K-Means on the code: accuracy",
        "higher",
        "Share of test images in the right cluster under the best one-to-one matching of clusters "
        "to classes (Hungarian method), mean over runs from several seeds. No label was used to "
        "find the clusters.",
        "pixels",
    ),
    Metric(
        "kmeans_nmi",
        "K-Means on the code: normalised mutual information",
        "higher",
        "Between clusters and classes, mean over runs; 0 is none, 1 the same partition.",
        "pixels",
    ),
    Metric(
        "kmeans_ari",
        "K-Means on the code: adjusted Rand index",
        "higher",
        "Agreement on pairs of images, mean over runs; 0 by chance, 1 the same partition.",
        "pixels",
    ),
    Metric(
        "kmeans_nmi_gain",
        "K-Means: mutual information gained over the pixels",
        "higher",
        "NMI on the code minus NMI on the pixels: above 0 the code separates the classes better.",
        "pixels",
    ),
    Metric(
        "kmeans_graph_accuracy",
        "K-Means on the code's neighbour graph: accuracy",
        "higher",
        "Images are placed by the leading eigenvectors of the graph of their ten nearest in the "
        "code (spectral clustering), which joins groups that are not round. Mean over runs.",
        "pixels",
    ),
    Metric(
        "kmeans_graph_nmi",
        "K-Means on the code's neighbour graph: normalised mutual information",
        "higher",
        "Between clusters and classes, mean over runs.",
        "pixels",
    ),
    Metric(
        "kmeans_graph_ari",
        "K-Means on the code's neighbour graph: adjusted Rand index",
        "higher",
        "Agreement on pairs of images, mean over runs.",
        "pixels",
    ),
)

TSNE = (
    Metric(
        "tsne_trustworthiness",
        "t-SNE of the code: trustworthiness",
        "higher",
        "How far the 12 neighbours of a point on the map are its neighbours in the code; 1 if all "
        "are, 0.5 on a random map.",
        "components",
    ),
    Metric(
        "tsne_continuity",
        "t-SNE of the code: continuity",
        "higher",
        "How far the 12 neighbours of an image in the code stay its neighbours on the map; 1 if "
        "all do, 0.5 on a random map.",
        "components",
    ),
    Metric(
        "tsne_knn_accuracy",
        "t-SNE of the code: class of the 10 nearest on the map",
        "higher",
        "Share of images whose class is the majority among their 10 nearest others on the map.",
        "code",
    ),
)

CORRUPTIONS = (
    Metric(
        "anomaly_auroc",
        "Anomaly detection: mean AUROC over the corruptions",
        "higher",
        "Chance that a corrupted test digit gets a higher anomaly score than an intact one; 0.5 is "
        "guessing. Every corruption is listed below.",
        "pca",
    ),
    Metric(
        "anomaly_auprc",
        "Anomaly detection: mean AUPRC over the corruptions",
        "higher",
        "Area under the precision-recall curve with as many corrupted digits as intact ones; 0.5 "
        "is guessing.",
        "pca",
    ),
)

OTHER_DATA = (
    Metric(
        "anomaly_other_auroc",
        "Anomaly detection: AUROC against other data sets",
        "higher",
        "Chance that an image of another data set gets a higher anomaly score than a test digit; "
        "the data sets are named in evaluator.anomaly_data.",
        "pca",
    ),
    Metric(
        "anomaly_other_auprc",
        "Anomaly detection: AUPRC against other data sets",
        "higher",
        "Area under the precision-recall curve; guessing gives the share of the other images.",
        "pca",
    ),
)

ONE_CLASS = (
    Metric(
        "anomaly_one_class_auroc",
        "Anomaly detection: one class is normal, mean AUROC",
        "higher",
        "A small autoencoder with a code of this size learns one class and must find all others "
        "by their error and by how unusual their code is; mean over the classes.",
        "pca",
    ),
    Metric(
        "anomaly_left_out_auroc",
        "Anomaly detection: one class was never seen, mean AUROC",
        "higher",
        "A small autoencoder with a code of this size learns all classes but one and must find "
        "that likewise; mean over the classes. Simple digits, such as 1, are reconstructed well "
        "even if never seen.",
        "pca",
    ),
)

DISCRIMINATOR = (
    Metric(
        "discriminator_accuracy",
        "Discriminator: accuracy on held-out reals and fakes",
        None,
        "Mean of the two metrics below. Near 50 % can mean that fakes are as good as reals, but "
        "also that the discriminator is dead or was never strong: it does not prove quality "
        "without a low FD. Far above 50 % means that it still finds a difference.",
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
        "The loss compares pairs, so this needs no cut-off: 50 % means that it is guessing.",
        "guessing",
    ),
)

JUDGE = (
    Metric(
        "judge_accuracy",
        "Judge: accuracy on real test images",
        "higher",
        "Share of the test images that the judge classifies correctly. The metrics below use its "
        "features and labels, so they mean nothing if it is poor.",
        "linear_classifier",
    ),
)


def level_name(sigma: float) -> str:
    """The noise level in hundredths, as metric names carry it: 0.4 -> "40"."""
    return f"{round(100 * sigma):02d}"


def denoising(noise_levels: Sequence[float]) -> tuple[Metric, ...]:
    """Four metrics for each noise level."""
    metrics = []
    for sigma in noise_levels:
        name = level_name(sigma)
        metrics += [
            Metric(
                f"denoising_psnr_{name}",
                f"Denoising at noise {sigma:g}: PSNR (dB)",
                "higher",
                f"Test images plus Gaussian noise of standard deviation {sigma:g}, clipped to "
                "0..1; mean over the images.",
                "noisy_input",
            ),
            Metric(
                f"denoising_gain_{name}",
                f"Denoising at noise {sigma:g}: gain over the linear optimum (dB)",
                "higher",
                "PSNR minus that of the linear estimator of least squared error (LMMSE), which is "
                "fitted to the train split and gets the same clipped input.",
                "linear_denoiser",
            ),
            Metric(
                f"denoising_ssim_{name}",
                f"Denoising at noise {sigma:g}: SSIM",
                "higher",
                "Structural similarity to the clean image, mean over the whole image, border "
                "included, and over the images.",
                "linear_denoiser",
            ),
            Metric(
                f"denoising_accuracy_{name}",
                f"Denoising at noise {sigma:g}: judge's accuracy",
                "higher",
                "Share of the denoised test images that the judge, who learned from clean ones, "
                "classifies right.",
                "linear_denoiser",
            ),
        ]
    return tuple(metrics)


def catalogue(model: str, noise_levels: Sequence[float]) -> Mapping[str, Metric]:
    """Every metric of ``model`` by name: of its measurements in their order, then the judge's.

    A measurement without metrics has only plots or tables.
    """
    of = {
        "generation": GENERATION,
        "neighbours": (*DIVERSITY, *MEMORISATION),
        "classifier": (*TWO_SAMPLE, *SYNTHETIC, *AUGMENTATION),
        "fid": FID,
        "discriminator": DISCRIMINATOR,
        "reconstruction": RECONSTRUCTION,
        "denoising": denoising(noise_levels),
        "clusters": CLUSTERS,
        "tsne": TSNE,
        "anomaly": (*CORRUPTIONS, *OTHER_DATA),
        "one_class": ONE_CLASS,
    }
    found = [metric for name in MODELS[model].measurements for metric in of.get(name, ())]
    return {metric.name: metric for metric in (*found, *JUDGE)}
