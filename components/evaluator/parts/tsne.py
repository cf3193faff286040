"""t-SNE of the code: the map as plot and document, and how far it can be trusted.

``tsne.json`` holds ``points`` [N, 2] and ``labels`` [N] of the map, figures/tsne_sprite.png their
images in the same order, 64 to a row of 28 x 28 pixels in 16 greys: 0.4 MB for 4,000 digits. With
them a page can show the digit behind each point. About twenty seconds for 4,000 images.
"""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from components.evaluator.catalogue import TSNE
from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part, mean_row
from components.evaluator.metrics import embedding
from components.evaluator.parts import plots
from components.evaluator.references import References
from components.evaluator.results import Plot
from components.evaluator.saved_model import LoadedModel
from core.artifacts import MAP_FILE, MAP_SPRITE
from core.progress import report

_COLUMNS = 64  # images in a row of the sprite
_GREYS = 16  # half a byte per pixel: half the size, without a visible difference
_DOCUMENT_POINTS = 4000  # the first ones, in random order: as many as a page can show


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """How well the map keeps neighbours and classes."""
    return (Part("t-SNE", "map", TSNE, measure),)


def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """t-SNE of the code of some test images, and three metrics of the map."""
    config, data = references.config, references.data
    part = references.test_part(config.tsne_samples)
    images, labels = data.test_images[part], data.test_labels[part]
    codes = model.run("encode", image=images)["code"]
    points = embedding.tsne(
        codes, config.tsne_perplexity, config.seed, lambda step, total: report(stage, step, total)
    )
    linear = embedding.plane(codes)
    trust, hits = embedding.trustworthiness, embedding.knn_hits
    rows = [
        mean_row("tsne_trustworthiness", trust(codes, points), config, trust(codes, linear)),
        mean_row("tsne_continuity", trust(points, codes), config, trust(linear, codes)),
        mean_row("tsne_knn_accuracy", hits(points, labels), config, hits(codes, labels)),
    ]
    if not draw:
        return Measured(rows)
    picture = Plot(
        "figures/tsne.png",
        "Map of the code (t-SNE)",
        f"{len(part):,} test images, coloured by their true class, which the map does not use. "
        "Neighbours can be trusted; distances between groups and sizes of groups cannot.",
        plots.scatter_map(points, labels, data.num_classes, data.names),
        is_chart=True,
    )
    shown = min(len(points), _DOCUMENT_POINTS)
    thumbnails = Plot(
        MAP_SPRITE,
        "Images of the map",
        f"The images behind the first {shown:,} points of the map, {_COLUMNS} to a row.",
        sprite(images[:shown]),
    )
    documents = {MAP_FILE: map_document(points[:shown], labels[:shown], data.names)}
    return Measured(rows, [picture, thumbnails], documents=documents)


def map_document(
    points: np.ndarray, labels: np.ndarray, names: Sequence[str] = ()
) -> dict[str, Any]:
    """The map as JSON: ``points`` [N, 2], rounded, and the true classes ``labels`` [N].

    The classes go by their ``names`` where they have any.
    """
    return {
        "points": np.round(points.astype(float), 2).tolist(),
        "labels": [names[k] for k in labels] if names else labels.tolist(),
    }


def sprite(images: np.ndarray) -> bytes:
    """One grey PNG of images [N, H, W, 1] in [0, 1], 64 to a row, left to right, black behind."""
    count, height, width, _ = images.shape
    rows = -(-count // _COLUMNS)
    sheet = np.zeros((rows * _COLUMNS, height, width), np.uint8)
    sheet[:count] = np.rint(np.clip(images[..., 0], 0.0, 1.0) * (_GREYS - 1))
    sheet = sheet.reshape(rows, _COLUMNS, height, width).swapaxes(1, 2)
    picture = Image.fromarray(sheet.reshape(rows * height, _COLUMNS * width), "P")
    greys = np.rint(np.linspace(0, 255, _GREYS)).astype(np.uint8)
    picture.putpalette(np.repeat(greys, 3).tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "png", bits=4, optimize=True)
    return buffer.getvalue()
