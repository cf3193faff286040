"""Sends a share of requests to the canary version and compares the outcomes.

Contract: the same images in the same order for the same seed; each is sent to one of the two
labels, chosen at random. The score depends on the model: anomaly score, discriminator score, or the
change by denoising.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.table import Table
from scipy import stats

from core.models import MODELS
from serving.checks import check_served
from serving.client import Client, Server
from serving.errors import RequestError, ServingError
from serving.releases import CANARY, STABLE

_NOISE_LEVEL = 0.4
_SIGNIFICANT = 0.01
# Keyed by a model's score signature in ``core.models``.
_SCORES: dict[str, tuple[str, Callable[[Client, np.ndarray], float]]] = {
    "anomaly_score": ("anomaly score", lambda c, image: float(c.anomaly_score(image)[0])),
    "discriminate": ("discriminator's score", lambda c, image: float(c.discriminate(image)[0])),
    "denoise": (
        "mean change by denoising",
        lambda c, image: float(np.abs(c.denoise(image, _NOISE_LEVEL) - image).mean()),
    ),
}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Outcomes of the requests to one label; latencies in milliseconds."""

    label: str
    version: int
    latencies_ms: np.ndarray
    errors: int
    scores: np.ndarray


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The outcomes of both labels, and the test for equal distributions of the scores."""

    score: str
    stable: Outcome
    canary: Outcome
    ks_statistic: float
    p_value: float

    def sentence(self) -> str:
        """The result in words."""
        if np.isnan(self.p_value):
            return "One version returned no scores, so there is no comparison."
        differs = "differs" if self.p_value < _SIGNIFICANT else "does not differ significantly"
        return (
            f"The distribution of the {self.score} {differs} (Kolmogorov-Smirnov distance "
            f"{self.ks_statistic:.3f}, p = {self.p_value:.2g})."
        )


def compare(
    model: str,
    server: str | Server,
    images: np.ndarray,
    share: float,
    requests: int,
    seed: int = 0,
    wait_s: float = 0.0,
) -> Comparison:
    """Sends ``requests`` single images, about ``share`` of them to the canary.

    Args:
        model: autoencoder, diffusion or gan.
        server: Its REST address, or a ``Server`` that has a token or encrypts.
        images: [N, 28, 28, 1] in [0, 1].
        share: In (0, 1).
        requests: At least 2.
        seed: Of the order of the images and their labels.
        wait_s: Seconds to retry while no server listens yet.

    Raises:
        ServingError: An argument out of range, a model that is not served, or a label that no
            version has.
    """
    if model not in MODELS:
        raise ServingError(f"There is no score for {model}; choose {', '.join(MODELS)}.")
    if not 0 < share < 1:
        raise ServingError(f"--share must be between 0 and 1, not {share:g}.")
    if requests < 2:
        raise ServingError(f"At least two requests are needed, not {requests}.")
    for label in (STABLE, CANARY):
        with Client(model, server, label=label, wait_s=wait_s) as client:
            check_served(client)
    title, score = _SCORES[MODELS[model].score]
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(images), size=requests)
    to_canary = rng.random(requests) < share
    to_canary[:2] = (False, True)  # each label gets at least one
    outcomes = {}
    for label, mask in ((STABLE, ~to_canary), (CANARY, to_canary)):
        outcomes[label] = _ask(model, server, label, score, images[chosen[mask]])
    test = (np.nan, np.nan)
    if min(len(outcome.scores) for outcome in outcomes.values()):
        test = stats.ks_2samp(outcomes[STABLE].scores, outcomes[CANARY].scores)
    return Comparison(title, outcomes[STABLE], outcomes[CANARY], float(test[0]), float(test[1]))


def _ask(
    model: str,
    server: str | Server,
    label: str,
    score: Callable[[Client, np.ndarray], float],
    images: np.ndarray,
) -> Outcome:
    latencies, scores, errors = [], [], 0
    with Client(model, server, label=label) as client:
        version = client.version()
        for image in images:
            started = time.perf_counter()
            try:
                scores.append(score(client, image[None]))
            except RequestError:
                errors += 1
            else:
                latencies.append(1000 * (time.perf_counter() - started))
    return Outcome(label, version, np.array(latencies), errors, np.array(scores))


def comparison_table(comparison: Comparison) -> Table:
    """A table with one column per label."""
    sides = (comparison.stable, comparison.canary)
    table = Table(box=None)
    table.add_column("")
    for side in sides:
        table.add_column(f"{side.label} ({side.version})", justify="right")
    table.add_row("requests", *(str(len(s.latencies_ms) + s.errors) for s in sides))
    table.add_row("errors", *(str(s.errors) for s in sides))
    for percent in (50, 95, 99):
        values = (_percentile(s.latencies_ms, percent) for s in sides)
        table.add_row(f"latency p{percent}, ms", *(f"{value:.1f}" for value in values))
    for percent in (5, 50, 95):
        values = (_percentile(s.scores, percent) for s in sides)
        table.add_row(f"{comparison.score} p{percent}", *(f"{value:.4f}" for value in values))
    return table


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The same figures by label, as plain data."""
    return {
        side.label: {
            "version": side.version,
            "requests": len(side.latencies_ms) + side.errors,
            "errors": side.errors,
            "latency_ms": {f"p{p}": _percentile(side.latencies_ms, p) for p in (50, 95, 99)},
            comparison.score: {f"p{p}": _percentile(side.scores, p) for p in (5, 50, 95)},
        }
        for side in (comparison.stable, comparison.canary)
    }


def _percentile(values: np.ndarray, percent: float) -> float:
    return float(np.percentile(values, percent)) if len(values) else float("nan")
