"""The content of an evaluation and its files: metrics.json and figures/*.png.

Contract: metrics.json is valid JSON; a value that is not a finite number is null. Report, pusher
and command line read its layout.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.artifacts import METRICS_FILE
from core.files import write_whole


@dataclasses.dataclass(frozen=True)
class MetricResult:
    """One measured metric with its description, its floor and the champion's value."""

    name: str
    title: str
    value: float | None
    better: str | None  # lower, higher, or None if neither is
    description: str
    floor: float | None = None  # real against real, or of the simple method
    floor_title: str = ""
    champion: float | None = None
    interval: tuple[float, float] | None = None  # 95 % bootstrap interval of ``value``
    missing: str = ""  # why ``value`` is None
    topic: str = ""  # section of the report, from its part; the same for plots and tables


@dataclasses.dataclass(frozen=True)
class GateResult:
    """One gate with its verdict; ``sentence`` is all of it in words."""

    metric: str
    title: str
    value: float | None
    interval: tuple[float, float] | None  # 95 % bootstrap interval of ``value``
    threshold: float | None  # in the metric's unit; None if its reference was not measured
    direction: str
    champion: float | None
    difference: float | None  # value - champion
    difference_interval: tuple[float, float] | None  # 95 %, in pairs
    retrain_spread: float | None  # change of the metric by retraining alone
    relative: bool  # whether that is a share of the champion's value
    # The worst value that the champion, or the best version so far, allows; None without a
    # comparison: there is none, it fails a gate itself, or the candidate beats it.
    limit: float | None
    passed: bool
    sentence: str
    reason: str
    stated: str = ""  # the threshold as a multiple of, or a number above, its reference, in words


@dataclasses.dataclass(frozen=True)
class Plot:
    """A PNG; ``file`` is relative to metrics.json."""

    file: str
    title: str
    caption: str
    png: bytes = dataclasses.field(repr=False)
    topic: str = ""
    is_chart: bool = False  # dark lines on white, which a dark page inverts


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of words and numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float]]
    topic: str = ""


@dataclasses.dataclass(frozen=True)
class Champion:
    """A version in the serving directory that the candidate was compared with."""

    version: str
    path: str


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Everything measured of one model."""

    model: str
    seed: int
    samples: int  # images behind the primary metrics
    seconds: float
    figures: Sequence[MetricResult]
    gates: Sequence[GateResult]
    plots: Sequence[Plot]
    tables: Sequence[Table]
    champion: Champion | None = None
    best: Champion | None = None  # the best version so far, if that is not the champion
    primary: str = ""  # name of the metric that decides which version is better
    quality_gates: bool = True  # whether the gates judge quality
    notes: Sequence[str] = ()  # measurements that failed and why, and warnings
    documents: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # JSON by file name

    @property
    def blessed(self) -> bool:
        """Whether there is a gate and all pass."""
        return bool(self.gates) and all(gate.passed for gate in self.gates)

    @property
    def reason(self) -> str:
        """Why the model is blessed or not, in sentences."""
        if not self.gates:
            return (
                f"No gate is set for {self.model}, so nothing can approve it: "
                f"set evaluator.gates.{self.model}."
            )
        failed = [gate.sentence for gate in self.gates if not gate.passed]
        return " ".join(failed) or f"All {len(self.gates)} gates passed."

    def figure(self, name: str) -> MetricResult:
        """The metric ``name``."""
        return next(figure for figure in self.figures if figure.name == name)

    def as_dict(self) -> dict[str, Any]:
        """The content of metrics.json."""
        return _finite(
            {
                "model": self.model,
                "blessed": self.blessed,
                "reason": self.reason,
                "seconds": round(self.seconds, 1),
                "seed": self.seed,
                "samples": self.samples,
                "figures": [dataclasses.asdict(figure) for figure in self.figures],
                "gates": [dataclasses.asdict(gate) for gate in self.gates],
                "champion": dataclasses.asdict(self.champion) if self.champion else None,
                "best": dataclasses.asdict(self.best) if self.best else None,
                "primary": self.primary,
                "quality_gates": self.quality_gates,
                "images": [
                    {
                        "file": p.file,
                        "title": p.title,
                        "caption": p.caption,
                        "topic": p.topic,
                        "chart": p.is_chart,
                    }
                    for p in self.plots
                ],
                "tables": [dataclasses.asdict(table) for table in self.tables],
                "notes": list(self.notes),
            }
        )


def write_evaluation(evaluation: Evaluation, folder: str | Path) -> None:
    """Writes metrics.json, documents and plots into ``folder``, which is created."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for picture in evaluation.plots:
        path = folder / picture.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture.png)
    for name, document in evaluation.documents.items():
        text = json.dumps(_finite(document), ensure_ascii=False, allow_nan=False)
        (folder / name).write_text(text + "\n", encoding="utf-8")
    text = json.dumps(evaluation.as_dict(), indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(folder / METRICS_FILE, text + "\n")


def _finite(value: Any) -> Any:
    """``value`` with NumPy numbers as Python's, and null for those that are not finite."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
