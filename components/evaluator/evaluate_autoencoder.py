"""Judges an autoencoder: reconstruction against PCA, clusters, map, denoising, anomalies.

Works through the SavedModel's signatures alone. About a minute and a half on two cores for 10,000
test images, most of it t-SNE and K-Means.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from components.evaluator import anomaly, embedding, figures, reconstruction
from components.evaluator.clustering import (
    Agreement,
    Clusters,
    agreement,
    kmeans,
    nearest_to_centres,
)
from components.evaluator.config import EvaluatorConfig
from components.evaluator.data import EvalData, References
from components.evaluator.denoising_part import denoising_part
from components.evaluator.models import LoadedModel
from components.evaluator.parts import Measured, Part, judge_part, run_parts
from components.evaluator.results import Evaluation, Picture, Table
from serving.playground import CLUSTERS_FILE
from trainer_modules.common.progress import report

_SHOWN = 12  # digits of a picture's row
_MEMBERS = 10  # images shown per cluster and per corruption


def evaluate_autoencoder(
    model: LoadedModel,
    judge: LoadedModel,
    data: EvalData,
    config: EvaluatorConfig,
    champion: LoadedModel | None = None,
) -> Evaluation:
    """Measures ``model`` on the test images and judges its gates.

    Raises:
        InputError: A model lacks a signature.
    """
    parts = (
        Part(
            "reconstruction",
            (
                "reconstruction_mse",
                "mse_over_pca",
                "reconstruction_bce",
                "reconstruction_psnr",
                "reconstruction_ssim",
                "reconstruction_accuracy",
            ),
            measure_reconstruction,
        ),
        denoising_part(config.noise_levels, _denoise),
        Part(
            "clusters",
            ("kmeans_accuracy", "kmeans_nmi", "kmeans_ari", "kmeans_nmi_gain"),
            measure_clusters,
        ),
        Part("t-SNE", ("tsne_trustworthiness", "tsne_knn_accuracy"), measure_map),
        Part("anomalies", ("anomaly_auroc",), measure_anomalies),
        judge_part(),
    )
    return run_parts(parts, model, References(data, judge, config), config, champion)


def measure_reconstruction(
    model: LoadedModel, references: References, stage: str, draw: bool
) -> Measured:
    """Errors of the reconstructed test images, beside PCA with a code of the same size."""
    images, labels = references.data.test_images, references.data.test_labels
    output = model.run("serving_default", stage, image=images)["image"]
    size = model.run("encode", image=images[:1])["code"].shape[1]
    linear = reconstruction.pca_reconstruction(images, references.pixels, size)
    error = float(reconstruction.squared_error(images, output).mean())
    pca_error = float(reconstruction.squared_error(images, linear).mean())
    judged = references.judge(output, f"{stage}, judged")
    values = {
        "reconstruction_mse": error,
        "mse_over_pca": error / max(pca_error, 1e-12),
        "reconstruction_bce": float(reconstruction.cross_entropy(images, output).mean()),
        "reconstruction_psnr": float(reconstruction.psnr(images, output).mean()),
        "reconstruction_ssim": float(reconstruction.ssim(images, output).mean()),
        "reconstruction_accuracy": float(np.mean(judged.classes == labels)),
    }
    if not draw:
        return Measured(values)
    floors = {
        "reconstruction_mse": pca_error,
        "mse_over_pca": 1.0,
        "reconstruction_bce": float(reconstruction.entropy_floor(images).mean()),
        "reconstruction_psnr": float(reconstruction.psnr(images, linear).mean()),
        "reconstruction_ssim": float(reconstruction.ssim(images, linear).mean()),
        "reconstruction_accuracy": references.judge_accuracy,
    }
    mean_image = references.pixels.mean.reshape(1, *images.shape[1:])
    mean_error = float(reconstruction.squared_error(images, mean_image).mean())
    shown = references.test_part(2 * _SHOWN)
    rows = [
        x[part] for part in (shown[:_SHOWN], shown[_SHOWN:]) for x in (images, output) if len(part)
    ]
    pictures = [
        Picture(
            "figures/reconstruction.png",
            "Reconstructions",
            f"Test digits drawn at random, each above its reconstruction from {size} numbers.",
            figures.image_rows(rows, ["original", "model"] * (len(rows) // 2)),
        ),
        Picture(
            "figures/reconstruction_error.png",
            "Reconstruction error",
            f"On {len(images):,} test images. PCA is the best linear code of the same size, fitted "
            "on the train split; the mean image is a code of size 0.",
            figures.bars(
                ("mean image", f"PCA, {size} numbers", f"autoencoder, {size} numbers"),
                (mean_error, pca_error, error),
                "mean squared error per pixel, pixels in 0..1",
                ".4f",
            ),
        ),
    ]
    return Measured(values, floors, pictures)


def measure_clusters(
    model: LoadedModel, references: References, stage: str, draw: bool
) -> Measured:
    """K-Means on the code of the test images, beside K-Means on their pixels."""
    images, labels = references.data.test_images, references.data.test_labels
    config, count = references.config, references.clusters
    codes = model.run("encode", stage, image=images)["code"]
    found = kmeans(codes, count, config.kmeans_restarts, config.seed)
    score = agreement(found.labels, labels)
    _, pixel_score = references.pixel_clusters
    values = {
        "kmeans_accuracy": score.accuracy,
        "kmeans_nmi": score.nmi,
        "kmeans_ari": score.ari,
        "kmeans_nmi_gain": score.nmi - pixel_score.nmi,
    }
    if not draw:
        return Measured(values)
    floors = {
        "kmeans_accuracy": pixel_score.accuracy,
        "kmeans_nmi": pixel_score.nmi,
        "kmeans_ari": pixel_score.ari,
    }
    order = np.lexsort((-score.purity, score.majority))
    nearest = nearest_to_centres(codes, found, _MEMBERS)
    picture = Picture(
        "figures/clusters.png",
        "Representative images of the clusters",
        f"K-Means with {count} clusters on the code. Each row is a cluster: the test images "
        "nearest to its centre, with its most frequent class and the share of that class in it.",
        figures.image_rows([images[nearest[k]] for k in order], [_name(score, k) for k in order]),
    )
    table = Table(
        f"K-Means, {count} clusters, {len(images):,} test images, best of "
        f"{config.kmeans_restarts} starts",
        ("clustered", "accuracy", "NMI", "ARI"),
        [
            [name, round(s.accuracy, 4), round(s.nmi, 4), round(s.ari, 4)]
            for name, s in (("pixels", pixel_score), ("code", score))
        ],
    )
    decoded = model.run("decode", code=found.centres.astype("float32"))["image"]
    document = cluster_document(found, score, decoded)
    return Measured(values, floors, [picture], [table], {CLUSTERS_FILE: document})


def cluster_document(found: Clusters, score: Agreement, decoded: np.ndarray) -> dict[str, Any]:
    """What travels with the model, so that a client can tell the nearest cluster of a code.

    Args:
        found: K-Means on the code.
        score: Its agreement with the classes.
        decoded: [k, 28, 28, 1] the centres as images.

    Returns:
        ``centres`` [k, D], ``images`` [k, 784] in [0, 1], and ``members``: the most frequent class
        of each cluster and its share.
    """
    return {
        "centres": np.round(found.centres.astype(float), 5).tolist(),
        "images": np.round(decoded.reshape(len(decoded), -1).astype(float), 3).tolist(),
        "members": [
            {"label": str(label), "share": round(float(share), 4)}
            for label, share in zip(score.majority, score.purity, strict=True)
        ],
    }


def measure_map(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """t-SNE of the code of some test images, and how far the map can be believed."""
    config = references.config
    part = references.test_part(config.tsne_samples)
    labels = references.data.test_labels[part]
    codes = model.run("encode", image=references.data.test_images[part])["code"]
    points = embedding.tsne(
        codes, config.tsne_perplexity, config.seed, lambda step, total: report(stage, step, total)
    )
    values = {
        "tsne_trustworthiness": embedding.trustworthiness(codes, points),
        "tsne_knn_accuracy": embedding.knn_accuracy(points, labels),
    }
    if not draw:
        return Measured(values)
    picture = Picture(
        "figures/tsne.png",
        "Map of the code (t-SNE)",
        f"{len(part):,} test images, coloured by their true class, which the map has not seen. "
        "Neighbours can be believed; distances between groups and sizes of groups cannot.",
        figures.scatter_map(points, labels, references.data.num_classes),
    )
    floors = {"tsne_knn_accuracy": embedding.knn_accuracy(codes, labels)}
    return Measured(values, floors, [picture])


def measure_anomalies(
    model: LoadedModel, references: References, stage: str, draw: bool
) -> Measured:
    """AUROC of the anomaly score for every corruption of the test digits."""
    config = references.config
    intact = references.data.test_images[references.test_part(config.anomaly_images)]
    normal = model.run("anomaly_score", image=intact)["anomaly_score"]
    areas, rows = {}, [intact[:_MEMBERS]]
    for i, kind in enumerate(anomaly.CORRUPTIONS):
        corrupted = anomaly.corrupt(intact, kind, config.seed)
        scores = model.run("anomaly_score", image=corrupted)["anomaly_score"]
        areas[kind] = anomaly.auroc(normal, scores)
        rows.append(corrupted[:_MEMBERS])
        report(stage, i + 1, len(anomaly.CORRUPTIONS), auroc=areas[kind])
    values = {"anomaly_auroc": float(np.mean(list(areas.values())))}
    if not draw:
        return Measured(values)
    picture = Picture(
        "figures/anomalies.png",
        "Corrupted digits",
        "Intact test digits on top, then the same digits under each corruption.",
        figures.image_rows(rows, ["intact", *anomaly.CORRUPTIONS]),
    )
    table = Table(
        f"Anomaly detection: {len(intact):,} intact test digits against as many corrupted ones",
        ("corruption", "AUROC"),
        [[kind, round(area, 4)] for kind, area in areas.items()]
        + [["mean", round(values["anomaly_auroc"], 4)]],
    )
    return Measured(values, {"anomaly_auroc": 0.5}, [picture], [table])


def _denoise(model: LoadedModel, noisy: np.ndarray, sigma: float, stage: str) -> np.ndarray:
    return model.run("denoise", stage, image=noisy)["image"]


def _name(score: Agreement, cluster: int) -> str:
    return f"{100 * score.purity[cluster]:.0f} % are {score.majority[cluster]}"
