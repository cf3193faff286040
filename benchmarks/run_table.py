"""Prints README's table of results from the evaluations of a run.

    python -m benchmarks.run_table --output outputs/quick --record benchmarks/results/run-quick.json
    python -m benchmarks.run_table --from benchmarks/results/run-quick.json

Contract: the first command copies every metric of the newest evaluations of a profile's run, with
reference value and 95 % interval; both print the table. No number in it is typed by hand.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import tables
from benchmarks.command import mistakes_exit
from core.artifacts import METRICS_FILE, read_json
from core.config import InputError
from core.files import write_whole
from core.models import MODELS
from core.wording import with_interval


class _Row(NamedTuple):
    title: str
    metrics: tuple[str, ...]
    reference: str = ""  # what its value is of, where that is not real data
    with_interval: bool = False


_ROWS = (
    _Row("FD on the judge's features", ("frechet_distance",)),
    _Row("FD as a multiple of that of real data", ("fd_over_floor",), "", True),
    _Row("Inception Score", ("inception_score",), "", True),
    _Row("class histogram, total variation", ("class_tv",), "", True),
    _Row("precision / recall", ("precision", "recall")),
    _Row(
        "two-sample test: nearest neighbour / trained classifier",
        ("nearest_neighbour_accuracy", "classifier_accuracy"),
    ),
    _Row("accuracy of a classifier trained on generated images alone", ("synthetic_accuracy",)),
    _Row(
        "share of images too close to a train image, in pixels / in the judge's features",
        ("memorised_share", "memorised_share_features"),
        "held-out images",
    ),
    _Row("reconstruction error (MSE)", ("reconstruction_mse",), "PCA, as many dimensions"),
    _Row(
        "denoising at noise 0.4, gain over the best linear map in dB / SSIM",
        ("denoising_gain_40", "denoising_ssim_40"),
        "best linear map of the same input",
    ),
    _Row("K-Means accuracy / NMI, mean of 10 seeds", ("kmeans_accuracy", "kmeans_nmi"), "pixels"),
    _Row(
        "K-Means on the neighbour graph of the latents, accuracy / NMI",
        ("kmeans_graph_accuracy", "kmeans_graph_nmi"),
        "pixels",
    ),
    _Row(
        "t-SNE trustworthiness / continuity",
        ("tsne_trustworthiness", "tsne_continuity"),
        "PCA in two dimensions",
    ),
    _Row("anomaly AUROC over corruptions", ("anomaly_auroc",), "PCA"),
    _Row("discriminator right on pairs", ("discriminator_pairwise",), "guessing"),
    _Row("judge's accuracy on the test images", ("judge_accuracy",), "linear classifier"),
)


@mistakes_exit("run_table")
def main(arguments: list[str] | None = None) -> int:
    """Prints the table in Markdown; returns 2 after a user's mistake."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--output", help="folder of a profile's runs, such as outputs/quick")
    source.add_argument("--from", dest="record_of", help="a record made by --record")
    parser.add_argument("--record", help="file to write every metric to")
    options = parser.parse_args(arguments)
    record = copy(options.output) if options.output else read_json(Path(options.record_of))
    if record is None:
        raise InputError(f"There is no {options.record_of}.")
    if options.record:
        write_whole(Path(options.record), json.dumps(record, indent=1) + "\n")
    print(tables.markdown(table(record)), end="")
    return 0


def copy(folder: str) -> dict[str, Any]:
    """Value, reference and interval by metric of each model's newest evaluation.

    Raises:
        InputError: A model has no evaluation.
    """
    models = {}
    for name, kind in MODELS.items():
        found = sorted(
            Path(folder).glob(f"pipeline/{kind.evaluator}/evaluation/*/{METRICS_FILE}"),
            key=lambda path: int(path.parent.name),
        )
        if not found:
            raise InputError(
                f"There is no evaluation of {name} in {folder}; name a profile's runs."
            )
        models[name] = {
            figure["name"]: [figure["value"], figure["floor"], figure["interval"]]
            for figure in json.loads(found[-1].read_text(encoding="utf-8"))["figures"]
            if figure["value"] is not None
        }
    return {"date": time.strftime("%Y-%m-%d"), "machine": tables.machine(), "models": models}


def table(record: Mapping[str, Any]) -> list[list[str]]:
    """One line per row of the table, one column per model, the reference value last."""
    models = record["models"]
    lines = [["metric", *models, "real data or simple method"]]
    for row in _ROWS:
        first = next(found for found in models.values() if row.metrics[0] in found)
        cells = [
            " / ".join(_cell(found[name], row.with_interval) for name in row.metrics)
            if row.metrics[0] in found
            else ""
            for found in models.values()
        ]
        reference = " / ".join(_number(first[name][1]) for name in row.metrics)
        if row.reference:
            reference += f" ({row.reference})"
        lines.append([row.title, *cells, reference])
    return lines


def _cell(found: list, is_interval: bool) -> str:
    value, _, interval = found
    return with_interval(value, interval) if is_interval else _number(value)


def _number(value: float | None) -> str:
    """Three significant digits; four where that would round to 1."""
    if value is None or value in (0, 1):
        return "none" if value is None else f"{value:.0f}"
    return f"{value:.4g}" if value >= 0.99 else f"{value:#.3g}"


if __name__ == "__main__":
    sys.exit(main())
