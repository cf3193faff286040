"""A data directory judged as a run would judge it, without a run: rows, and a page of them.

Contract: ``check_data`` reads everything and fails nothing; ``Verdict.stops`` says whether a run
would end. MNIST takes about 20 s on one core, most of it TensorFlow Data Validation.
"""

import dataclasses
import html

from components.data_gate import gate
from components.data_gate.baseline import compute_splits, read_baseline
from components.data_gate.schema import read_schema, without_image
from components.idx_example_gen import findings
from components.idx_example_gen.config import DataConfig
from components.idx_example_gen.data import Data, read_data


@dataclasses.dataclass(frozen=True)
class Row:
    """One thing that is wrong with the data."""

    name: str  # as in ``data.allow``; "filled" cannot be allowed
    split: str
    sentence: str
    stops: bool


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What was read, what was checked, and what is wrong; those rows first that end a run."""

    data: Data
    checks: int
    has_baseline: bool
    rows: tuple[Row, ...]

    @property
    def stops(self) -> bool:
        """Whether a run would end at the data gate."""
        return any(row.stops for row in self.rows)


def check_data(data_dir: str, config: DataConfig) -> Verdict:
    """Reads and judges a data directory.

    Raises:
        InputError: The files cannot be read as images and labels.
    """
    data = read_data(data_dir, config)
    schema = read_schema(data_dir)
    baseline = read_baseline(data_dir)
    checks = gate.inspect(
        compute_splits(data.splits, schema),
        without_image(schema),
        baseline,
        max_images=config.max_images,
        allow=config.allow,
    )
    checks += gate.check_images(findings.find(data.splits), config.allow)
    rows = [
        Row(c.kind, c.split, c.sentence, not c.passed and c.kind not in config.allow)
        for c in checks
        if c.sentence
    ]
    rows.sort(key=lambda row: not row.stops)
    return Verdict(data, len(checks), baseline is not None, tuple(rows))


def page(verdict: Verdict, data_dir: str) -> str:
    """The verdict as a page of HTML that needs nothing else."""
    splits = ", ".join(f"{name}: {len(p.labels):,}" for name, p in verdict.data.splits.items())
    said = "".join(f"<li>{html.escape(line)}</li>" for line in verdict.data.said)
    rows = "".join(
        f"<tr><td>{'stops a run' if row.stops else 'noted'}</td><td>{row.name}</td>"
        f"<td>{row.split}</td><td>{html.escape(row.sentence)}</td></tr>"
        for row in verdict.rows
    )
    head = "<tr><th>verdict</th><th>name</th><th>split</th><th>what</th></tr>"
    found = f"<table>{head}{rows}</table>" if rows else "<p>Nothing is wrong with it.</p>"
    drift = "" if verdict.has_baseline else " There is no baseline, so drift was not measured."
    title = f"Check of {html.escape(data_dir)}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        "<style>body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "td,th{text-align:left;vertical-align:top;padding:.3rem .8rem .3rem 0}</style>"
        f"<h1>{title}</h1><p>Images by split: {splits}. {verdict.checks} checks.{drift}</p>"
        f"<ul>{said}</ul>{found}</html>\n"
    )
