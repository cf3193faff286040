"""Plots of an evaluation as PNG bytes: grids, strips, maps and curves.

Contract: pure functions of arrays; same input, same bytes. Every PNG is below 250 kB. Matplotlib is
used without pyplot, so there is no global state and no display. Colours are distinct with any
colour vision, and classes on the map also carry their number.
"""

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image  # Matplotlib needs it too

# A file matplotlibrc in the folder one stands in would change the plots, and start LaTeX.
matplotlib.rcdefaults()

_DPI = 120
_FONT = 9  # points
# Paul Tol's "muted" scheme (SRON/EPS/TN/09-002), nine colours for any colour vision, and black.
_CLASSES = ("#CC6677", "#332288", "#DDCC77", "#117733", "#88CCEE")
_CLASSES += ("#882255", "#44AA99", "#999933", "#AA4499", "#000000")
_MODEL, _REFERENCE = "#332288", "#BBBBBB"  # dark against light: also apart in grey
# Distinct by dash and marker too: the model's line first, then the others.
_LINES = ((_MODEL, "-", "o"), ("#CC6677", "--", "s"), ("#44AA99", "-.", "D"))
_LINES += (("#999933", (0, (1, 1)), "v"), ("#777777", ":", "^"))
_ERROR_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_MOST_NAMED = 12  # classes under a plot; more names would overlap
_GAP = 2  # pixels between the images of a grid
SURROUND = 0.25  # brightness around images: a dark grey that suits light and dark pages


def class_colours(count: int) -> list[str]:
    """One colour per class; beyond ten an even ramp that is monotone in brightness."""
    if count <= len(_CLASSES):
        return list(_CLASSES[:count])
    from matplotlib import colormaps

    return [to_hex(c) for c in colormaps["cividis"](np.linspace(0, 1, count))]


def class_label(names: Sequence[str], k: int) -> str:
    """Number of a class and its name, as far as Matplotlib's font has its letters."""
    name = names[k] if names else ""
    if not name or max(name) > "\u024f":
        return str(k)
    return f"{k} {name}".replace("$", r"\$")


def sample_grid(images: np.ndarray, columns: int = 8) -> bytes:
    """``images`` [N, 28, 28, 1] in rows of ``columns``, in the order given."""
    rows = [images[i : i + columns] for i in range(0, len(images), columns)]
    return image_rows(rows)


def image_rows(rows: Sequence[np.ndarray], labels: Sequence[str] = ()) -> bytes:
    """One line of images [N, 28, 28, 1] per row, with its label to the left where given.

    Rows may have different lengths; the rest stays empty.
    """
    height, width = rows[0].shape[1:3]
    columns = max(len(row) for row in rows)
    pixels = (len(rows) * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP)
    canvas = np.full(pixels, SURROUND)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            y, x = i * (height + _GAP), j * (width + _GAP)
            canvas[y : y + height, x : x + width] = np.clip(image[..., 0], 0.0, 1.0)
    cell = 0.52  # inches per image: 62 pixels of the PNG
    margin = (0.068 * max(map(len, labels)) + 0.12) if labels else 0.0
    size = (margin + columns * cell, len(rows) * cell)
    figure = Figure(figsize=size, dpi=_DPI, facecolor=str(SURROUND))
    axes = figure.add_axes((margin / size[0], 0.0, 1.0 - margin / size[0], 1.0))
    axes.imshow(canvas, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest", aspect="auto")
    axes.set_axis_off()
    for i, label in enumerate(labels):
        y = i * (height + _GAP) + height / 2 - 0.5
        axes.text(
            -3, y, label, ha="right", va="center", fontsize=_FONT, color="white", clip_on=False
        )
    return _png(figure)


def scatter_map(
    points: np.ndarray, classes: np.ndarray, class_count: int, names: Sequence[str] = ()
) -> bytes:
    """The map ``points`` [N, 2] coloured by true class, the number of each class at its centre.

    The legend has the ``names`` of the classes where they have any.
    """
    figure = Figure(figsize=(7.2, 6.0), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    colours = class_colours(class_count)
    order = np.random.default_rng(0).permutation(len(points))  # no class always on top
    axes.scatter(
        *points[order].T, c=[colours[k] for k in classes[order]], s=5, linewidths=0, alpha=0.8
    )
    for k in range(class_count):
        if np.any(classes == k):
            x, y = np.median(points[classes == k], axis=0)
            outline = [withStroke(linewidth=3, foreground="white")]
            text = axes.text(x, y, str(k), ha="center", va="center", fontsize=15, weight="bold")
            text.set(color="black", path_effects=outline)
            axes.scatter([], [], c=colours[k], s=30, label=class_label(names, k))
    columns = 1 if class_count <= 20 else 2
    axes.legend(
        title="class", loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, ncols=columns
    )
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("t-SNE axis 1 (no unit)")
    axes.set_ylabel("t-SNE axis 2 (no unit)")
    axes.set_xticks([])
    axes.set_yticks([])
    _plain(axes)
    return _png(figure)


def class_histogram(
    model: np.ndarray, real: np.ndarray, model_name: str, names: Sequence[str] = ()
) -> bytes:
    """Shares [K] of the classes among generated and among real images, side by side.

    The classes go by their ``names`` where they have any.
    """
    figure = Figure(figsize=(7.2, 3.0), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(real))
    axes.bar(places - 0.21, 100 * real, 0.4, color=_REFERENCE, label="real test images")
    axes.bar(places + 0.21, 100 * model, 0.4, color=_MODEL, label=model_name)
    axes.set_xticks(places if len(real) <= 30 else places[:: len(real) // 15])
    if names and len(real) <= _MOST_NAMED:
        words = [class_label(names, k) for k in range(min(len(real), len(names)))]
        axes.set_xticks(places[: len(words)], words, rotation=30, ha="right")
    axes.set_xlabel("class, as the judge sees it")
    axes.set_ylabel("share of the images (%)")
    _legend_above(axes)
    _plain(axes)
    return _png(figure)


def score_histogram(real: np.ndarray, fake: np.ndarray) -> bytes:
    """Scores of the discriminator on reals [N] and fakes [M], as shares of each."""
    figure = Figure(figsize=(7.2, 3.0), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    # Scores may lie within a few hundredths of the cut-off: show their range, and 0.5.
    low, high = np.quantile(np.concatenate([real, fake, [0.5]]), [0.001, 0.999])
    low, high = max(min(low, 0.5) - 0.02, 0.0), min(max(high, 0.5) + 0.02, 1.0)
    bins = np.linspace(low, high, 41)
    for scores, colour, name in (
        (real, _REFERENCE, "real test images"),
        (fake, _MODEL, "generated images"),
    ):
        weights = np.full(len(scores), 100 / len(scores))
        style = {"histtype": "stepfilled", "alpha": 0.55, "edgecolor": colour, "linewidth": 1.5}
        axes.hist(
            np.clip(scores, low, high), bins, weights=weights, color=colour, label=name, **style
        )
    axes.axvline(0.5, color="black", linewidth=0.8, linestyle="--")
    axes.set_xlim(low, high)
    axes.set_xlabel("discriminator's score: probability that the image is real")
    axes.set_ylabel("share of the images (%)")
    _legend_above(axes)
    _plain(axes)
    return _png(figure)


def lines(x: Sequence[float], panels: dict[str, dict[str, Sequence[float]]], x_label: str) -> bytes:
    """Curves over ``x``, one panel for each y axis; at most five curves, the model's first.

    Args:
        x: Positions [N], each with a tick.
        panels: Curves [N] by name, by label of their y axis; the same names in each.
        x_label: Label of the x axis.
    """
    count = len(panels)
    figure = Figure(figsize=(0.6 + 3.4 * count, 3.7), dpi=_DPI, layout="constrained")
    columns = figure.subplots(1, count, squeeze=False)[0]
    for axes, (y_label, series) in zip(columns, panels.items(), strict=True):
        for (name, y), (colour, style, marker) in zip(series.items(), _LINES, strict=False):
            axes.plot(x, y, color=colour, linestyle=style, marker=marker, markersize=4, label=name)
        axes.set_xticks(list(x))
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
        _plain(axes)
    handles, names = columns[0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside upper center", ncols=5, frameon=False, fontsize=_FONT
    )
    return _png(figure)


def size_curve(sizes: Sequence[int], errors: Sequence[float], model: tuple[int, float]) -> bytes:
    """Error of PCA over the ``sizes`` of its code, both logarithmic, and the model's own point."""
    figure = Figure(figsize=(6.4, 3.6), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(sizes, errors, color="#777777", linestyle="--", marker="s", label="PCA")
    for x, y in zip(sizes, errors, strict=True):
        axes.annotate(f"{y:.4f}", (x, y), (0, 6), textcoords="offset points", fontsize=_FONT - 1)
    axes.plot(*model, color=_MODEL, linestyle="", marker="D", markersize=8, label="autoencoder")
    axes.annotate(
        f"{model[1]:.4f}", model, (8, -4), textcoords="offset points", weight="bold", color=_MODEL
    )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    low, high = min(*errors, model[1]), max(*errors, model[1])
    axes.set_xlim(sizes[0] / 1.2, sizes[-1] * 1.4)
    axes.set_ylim(low / 1.4, high * 1.4)
    ticks = [t for t in _ERROR_TICKS if low / 1.4 <= t <= high * 1.4]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_xlabel("dimensions of the code")
    axes.set_ylabel("mean squared error per pixel")
    axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
    axes.legend(frameon=False)
    _plain(axes)
    return _png(figure)


def _legend_above(axes: Axes) -> None:
    """A legend outside the plot, where it hides nothing."""
    axes.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0.0, 1.0))


def _plain(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=_FONT)


def _png(figure: Figure) -> bytes:
    """Renders with a palette of 128 colours: a third of the size, without a visible difference."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    buffer = io.BytesIO()
    palette = image.quantize(128, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette.save(buffer, format="png", optimize=True, dpi=(_DPI, _DPI))
    return buffer.getvalue()
