"""A data directory judged as a run would judge it, without a run.

Contract: ``check_data`` reads everything and fails nothing; ``Verdict.stops`` says whether a run
would end. ``check_run`` takes what a run has measured already. MNIST takes about 20 s on one core,
most of it TensorFlow Data Validation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.data_gate import gate
from components.data_gate.baseline import compute_splits, read_baseline
from components.data_gate.schema import read_schema, without_image
from components.idx_example_gen import findings
from components.idx_example_gen.config import DataConfig
from components.idx_example_gen.data import Data, read_data
from core.statistics import load_statistics

if TYPE_CHECKING:
    from components.data_gate.baseline import Statistics


@dataclasses.dataclass(frozen=True)
class Row:
    """One thing that is wrong with the data."""

    name: str  # as in ``data.allow``; "filled" cannot be allowed
    split: str
    sentence: str
    stops: bool


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was read, every check, and what is wrong; those rows first that end a run."""

    data: Data
    checks: tuple[gate.Check, ...]
    rows: tuple[Row, ...]
    statistics: dict[str, Statistics]  # by split
    baseline: dict[str, Statistics] | None  # of train and test; None where there is none

    @property
    def stops(self) -> bool:
        """Whether a run would end at the data gate."""
        return any(row.stops for row in self.rows)


def check_data(data_dir: str, config: DataConfig) -> Verdict:
    """Reads and judges a data directory.

    Raises:
        InputError: The files cannot be read as images and labels.
    """
    data, schema = read_data(data_dir, config), read_schema(data_dir)
    statistics = compute_splits(data.splits, schema)
    return _judge(data_dir, config, data, statistics, findings.find(data.splits))


def check_run(data_dir: str, config: DataConfig, statistics_dir: str, examples_dir: str) -> Verdict:
    """The same of a run that has measured it all, from the artifacts of its nodes.

    Args:
        data_dir: The data directory.
        config: How the run read it.
        statistics_dir: Of statistics-gen.
        examples_dir: Of example-gen.

    Raises:
        InputError: The files cannot be read any more.
    """
    found = findings.read(examples_dir)
    return _judge(
        data_dir, config, read_data(data_dir, config), load_statistics(statistics_dir), found
    )


def _judge(
    data_dir: str,
    config: DataConfig,
    data: Data,
    statistics: dict[str, Statistics],
    found: Sequence[findings.Finding],
) -> Verdict:
    baseline = read_baseline(data_dir)
    checks = gate.inspect(
        statistics,
        without_image(read_schema(data_dir)),
        baseline,
        max_images=config.max_images,
        allow=config.allow,
    )
    checks += gate.check_images(found, config.allow)
    rows = [
        Row(c.kind, c.split, c.sentence, not c.passed and c.kind not in config.allow)
        for c in checks
        if c.sentence
    ]
    rows.sort(key=lambda row: not row.stops)
    return Verdict(data, tuple(checks), tuple(rows), statistics, baseline)
