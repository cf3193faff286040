"""K-Means on pixels, PCA, the code and their neighbour graphs, and what the clusters look like.

Metrics are means over the seeds of the config, none selected by its metric; plots and clusters.json
show the run of least inertia. About fifteen seconds on two cores for 10,000 images.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from components.evaluator.catalogue import CLUSTERS
from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part, Row
from components.evaluator.metrics import reconstruction
from components.evaluator.metrics.agreement import Agreement, agreement_replicates
from components.evaluator.metrics.clustering import Runs, kmeans_runs, nearest_to_centres
from components.evaluator.parts import plots
from components.evaluator.references import EvalData, References
from components.evaluator.results import Plot, Table
from components.evaluator.saved_model import LoadedModel
from core.clusters import GRAPH_NEIGHBOURS, Clusters, embed_graph, neighbour_graph
from serving.versions import CLUSTERS_FILE

_MEMBERS = 10  # images shown per cluster
_SCORES = ("accuracy", "nmi", "ari")


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """Agreement of clusters and classes."""
    return (Part("clusters", "clusters", CLUSTERS, measure),)


def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """K-Means on the code of the test images and on its neighbour graph, and on the pixels."""
    data = references.data
    codes = model.run("encode", stage, image=data.test_images)["code"]
    runs, graph = _runs(references, codes), _graph_runs(references, codes)
    pixels = references.once(("clusters of pixels",), lambda: _runs(references, data.test_images))
    pixel_graph = references.once(
        ("clusters of the pixels' graph",), lambda: _graph_runs(references, data.test_images)
    )
    drawn, drawn_graph = _replicates(references, runs), _replicates(references, graph)
    gain = drawn["nmi"] - _replicates(references, pixels)["nmi"]
    rows = [
        *(Row(f"kmeans_{s}", runs.mean(s), pixels.mean(s), drawn[s]) for s in _SCORES),
        Row("kmeans_nmi_gain", runs.mean("nmi") - pixels.mean("nmi"), 0.0, gain),
        *(
            Row(f"kmeans_graph_{s}", graph.mean(s), pixel_graph.mean(s), drawn_graph[s])
            for s in _SCORES
        ),
    ]
    if not draw:
        return Measured(rows)
    size = codes.shape[1]
    linear = _runs(references, reconstruction.pca_code(data.test_images, references.pixels, size))
    best, score = runs.clusters[runs.best], runs.scores[runs.best]
    decoded = model.run("decode", code=best.centres.astype("float32"))["image"]
    table = _table(
        {
            "pixels": pixels,
            f"PCA, {size} dimensions": linear,
            f"code, {size} dimensions": runs,
            "neighbour graph of the pixels": pixel_graph,
            "neighbour graph of the code": graph,
        },
        references,
    )
    picture = _picture(data, codes, best, score, decoded)
    document = cluster_document(best, score, decoded, data.classes)
    return Measured(rows, [picture], [table], {CLUSTERS_FILE: document})


def cluster_document(
    found: Clusters, score: Agreement, decoded: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """Content of clusters.json, with which a client finds the nearest cluster of a code.

    Args:
        found: K-Means on the code.
        score: Its agreement with the classes.
        decoded: [k, 28, 28, 1] the centres as images.
        classes: What each class is called.

    Returns:
        ``centres`` [k, D], ``images`` [k, 784] in [0, 1], and ``members``: the most frequent class
        of each cluster and its share.
    """
    return {
        "centres": np.round(found.centres.astype(float), 5).tolist(),
        "images": np.round(decoded.reshape(len(decoded), -1).astype(float), 3).tolist(),
        "members": [
            {"label": classes[label], "share": round(float(share), 4)}
            for label, share in zip(score.majority, score.purity, strict=True)
        ],
    }


def _runs(references: References, points: np.ndarray) -> Runs:
    config, labels = references.config, references.data.test_labels
    return kmeans_runs(points, labels, references.clusters, config.kmeans_seeds, config.seed)


def _graph_runs(references: References, points: np.ndarray) -> Runs:
    graph, seed = neighbour_graph(points), references.config.seed
    return _runs(references, embed_graph(graph, references.clusters, seed))


def _replicates(references: References, runs: Runs) -> dict[str, np.ndarray]:
    config, partitions = references.config, [found.labels for found in runs.clusters]
    return agreement_replicates(
        partitions, references.data.test_labels, config.bootstrap_replicates, config.seed
    )


def _picture(
    data: EvalData, codes: np.ndarray, found: Clusters, score: Agreement, decoded: np.ndarray
) -> Plot:
    order = np.lexsort((-score.purity, score.majority))
    nearest = nearest_to_centres(codes, found, _MEMBERS)
    blank = np.full_like(decoded[:1], plots.SURROUND)
    rows = [
        np.concatenate([decoded[k : k + 1], blank, data.test_images[nearest[k]]]) for k in order
    ]
    shown = [plots.class_label(data.names, label) for label in score.majority]
    names = [f"{100 * score.purity[k]:.0f} % are {shown[k]}" for k in order]
    return Plot(
        "figures/clusters.png",
        "Clusters: their centres decoded, and the images nearest to them",
        f"K-Means with {len(order)} clusters on the code, the run of least inertia. Each row is a "
        "cluster: its centre as decoded, then the test images nearest to that, with "
        "the cluster's most frequent class and its share.",
        plots.image_rows(rows, names),
    )


def _table(runs: dict[str, Runs], references: References) -> Table:
    config = references.config
    columns = ["clustered"]
    for name in ("accuracy", "NMI", "ARI"):
        columns += [name, f"{name} ±"]
    columns += ["accuracy at least inertia"]
    rows = []
    for name, found in runs.items():
        row: list[str | float] = [name]
        for score in _SCORES:
            row += [round(found.mean(score), 4), round(found.deviation(score), 4)]
        rows.append([*row, round(found.scores[found.best].accuracy, 4)])
    return Table(
        f"K-Means, {references.clusters} clusters, {len(references.data.test_images):,} test "
        f"images: mean and standard deviation over {config.kmeans_seeds} seeds, one start each; "
        f"graphs of {GRAPH_NEIGHBOURS} neighbours",
        columns,
        rows,
    )
