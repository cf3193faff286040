"""Content of a model card (Mitchell et al. 2019, "Model Cards for Model Reporting", section 4).

Contract: ``build_card`` is pure and makes no fact up. It knows the version's metrics.json, lineage,
trainings, statistics and serving check; what these do not hold is said to be not known, and a
figure without a value is shown as missing with its reason. Both formats are written from the same
content.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from components.model_card.words import ETHICS, OUT_OF_SCOPE, USERS, WORDS
from components.report.data import Picture, Stage
from components.report.statistics import SplitStatistics
from components.wording import MISSING, bound, interval, number, sentence

UNKNOWN = "not known"
_CITATION = "Mitchell et al. 2019, Model cards for model reporting, FAT*."


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the run has written about one version."""

    model: str
    metrics: Mapping[str, Any]  # metrics.json
    lineage: Mapping[str, Any]  # lineage.json
    stages: Sequence[Stage] = ()  # trainings, in order
    splits: Sequence[SplitStatistics] = ()
    serving_check: Mapping[str, Any] | None = None
    pictures: Sequence[Picture] = ()
    data_dir: str = ""


@dataclasses.dataclass(frozen=True)
class Grid:
    """A table; the first column names the row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""


@dataclasses.dataclass(frozen=True)
class Section:
    """A field of the card: paragraphs (str), lists (tuple of str) and tables."""

    title: str
    blocks: Sequence[str | tuple[str, ...] | Grid]


@dataclasses.dataclass(frozen=True)
class Card:
    """The whole card."""

    title: str
    summary: str
    overview: Sequence[str | Grid]  # verdict, date and gated numbers, before the sections
    sections: Sequence[Section]
    pictures: Sequence[Picture] = ()


def build_card(facts: Facts) -> Card:
    """Puts the facts under the nine headings of a model card."""
    words = WORDS[facts.model]
    return Card(
        title=f"Model card: {words.title}",
        summary=words.summary,
        overview=list(_overview(facts)),
        pictures=[picture for picture in facts.pictures if picture.png],
        sections=[
            Section("Model details", list(_details(facts))),
            Section(
                "Intended use",
                [
                    "Uses it was made and measured for:",
                    tuple(words.uses),
                    f"Users: {USERS}",
                    "Out of scope:",
                    OUT_OF_SCOPE,
                ],
            ),
            Section("Factors", list(_factors(facts))),
            Section("Metrics", list(_metrics(facts))),
            Section("Evaluation data", list(_evaluation_data(facts))),
            Section("Training data", list(_training_data(facts))),
            Section("Quantitative analyses", list(_analyses(facts))),
            Section("Ethical considerations", [ETHICS]),
            Section("Caveats and recommendations", [tuple(_caveats(facts))]),
        ],
    )


def _overview(facts: Facts) -> Iterator[str | Grid]:
    gates = facts.metrics.get("gates") or []
    failed = [gate for gate in gates if not gate.get("passed")]
    if not gates:
        verdict = "No gate was set for this version."
    elif failed:
        verdict = f"Not approved: {len(failed)} of {len(gates)} gates failed."
    else:
        verdict = f"Approved: every gate passed ({len(gates)})."
    yield f"{verdict} Pushed: {facts.lineage.get('pushed_at') or UNKNOWN}."
    if gates:
        yield Grid(
            ("gate", "verdict", "value", "threshold", "95 % interval"),
            [
                (
                    _title(gate),
                    "passed" if gate.get("passed") else "failed",
                    number(gate.get("value")),
                    bound(gate.get("direction", ""), gate.get("threshold")),
                    _range(gate.get("interval")),
                )
                for gate in gates
            ],
            "Gates: all must pass before a version is pushed",
        )


def _details(facts: Facts) -> Iterator[str | Grid]:
    words, lineage = WORDS[facts.model], facts.lineage
    yield words.method
    weights = _parameters(facts.stages[-1]) if facts.stages else None
    yield Grid(
        ("field", "value"),
        [
            ("served as", facts.model),
            ("version", "the name of the directory that holds assets.extra with this card"),
            ("pushed", lineage.get("pushed_at") or UNKNOWN),
            ("pipeline run", lineage.get("run_id") or UNKNOWN),
            ("model artifact", _public(lineage.get("model_uri"))),
            ("evaluation", _public(lineage.get("evaluation_uri"))),
            ("weights", UNKNOWN if weights is None else number(weights)),
            ("input and output", "float32 images [B, 28, 28, 1] in 0 to 1, or PNG files"),
            ("made by", f"a run of Inkwell; the person or organisation is {UNKNOWN}"),
            ("licence of the model", UNKNOWN),
            ("contact", UNKNOWN),
        ],
    )
    yield Grid(("signature", "what it does"), words.signatures, "Signatures")
    if facts.stages:
        titles = [stage.title for stage in facts.stages]
        yield Grid(("setting", *titles), _settings(facts.stages), "Trainings")
    else:
        yield f"How it was trained is {UNKNOWN}."
    yield "References: " + " ".join((*words.references, _CITATION))


def _public(path: str | None, parts: int = 3) -> str:
    """``path`` without the folders of the machine above its last ``parts``; addresses stay."""
    if not path:
        return UNKNOWN
    return "/".join(PurePosixPath(path).parts[-parts:]) if path.startswith("/") else path


def _parameters(stage: Stage) -> int | None:
    found = (stage.history or {}).get("parameters") or {}
    counts = [found.get("trainable"), found.get("frozen")]
    return None if None in counts else sum(counts)


def _settings(stages: Sequence[Stage]) -> list[tuple[str, ...]]:
    """One row per setting or measure, one column per training."""
    measures = ("steps", "seconds", "images_per_second", "backend")
    columns = [
        {name.replace("_", " "): (stage.history or {}).get(name) for name in measures}
        | dict(stage.config or {})
        for stage in stages
    ]
    names = dict.fromkeys(name for column in columns for name in column)
    return [(name, *(_setting(column, name) for column in columns)) for name in names]


def _setting(column: Mapping[str, Any], name: str) -> str:
    if name not in column:
        return "not set here"
    value = column[name]
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:g}"  # as it is written in a profile
    return UNKNOWN if value is None else number(value)


def _factors(facts: Facts) -> Iterator[str | tuple[str, ...]]:
    yield "What the evaluation varies:"
    yield tuple(WORDS[facts.model].factors)
    yield (
        "What matters too and was not varied: the writer, the pen, the scanner, and digits that "
        "touch or are cropped. The data says nothing of these."
    )


def _metrics(facts: Facts) -> Iterator[str | Grid]:
    yield (
        "Every figure is measured on images that were not trained on, and has a reference value: "
        "what real images or the best simple method reach under the same protocol. Intervals hold "
        "95 % and come from bootstrap resamples of the images; they cover the chance in the choice "
        "of images, not that of another training."
    )
    seen: dict[str, list[str]] = {}
    for figure in facts.metrics.get("figures") or []:
        better = f" {figure['better'].capitalize()} is better." if figure.get("better") else ""
        seen.setdefault((figure.get("description") or UNKNOWN) + better, []).append(_title(figure))
    rows = [("; ".join(titles), description) for description, titles in seen.items()]
    yield Grid(("figure", "what it means"), rows)


def _title(row: Mapping[str, Any]) -> str:
    return row.get("title") or row.get("name") or row.get("metric") or UNKNOWN


def _evaluation_data(facts: Facts) -> Iterator[str | Grid]:
    test = [split for split in facts.splits if split.name == "test"]
    yield (
        f"The test split of {_data(facts) or 'a data directory that is ' + UNKNOWN}: "
        f"{number(test[0].examples) + ' images' if test else 'its size is ' + UNKNOWN}. No model "
        "was trained on it. The gates are judged on it, so the figures of a version that passed "
        "them are slightly too good. "
        f"The first figures rest on {_known(facts.metrics.get('samples'))} images and seed "
        f"{_known(facts.metrics.get('seed'))}."
    )
    yield from _shares(test)


def _training_data(facts: Facts) -> Iterator[str | Grid]:
    splits = [split for split in facts.splits if split.name != "test"]
    sizes = ", ".join(f"{split.name} {number(split.examples)} images" for split in splits)
    yield (
        f"Data directory: {_data(facts) or UNKNOWN}. Splits: {sizes or UNKNOWN}. The model is "
        "fitted on train; eval gives the held-out curves. Pixels are divided by 255. Labels "
        "are not used in the training of this model."
    )
    yield "Who collected the images, how, and under which licence: see the data's documentation."
    yield from _shares(splits)


def _data(facts: Facts) -> str:
    return _public(facts.data_dir, parts=1) if facts.data_dir else ""


def _shares(splits: Sequence[SplitStatistics]) -> Iterator[Grid]:
    shares = {split.name: split.label_shares for split in splits}
    labels = list(dict.fromkeys(label for share in shares.values() for label in share))
    if labels:
        rows = [(label, *(number(s.get(label)) for s in shares.values())) for label in labels]
        yield Grid(("class", *(f"{name}, %" for name in shares)), rows, "Share of each class")


def _analyses(facts: Facts) -> Iterator[str | Grid]:
    metrics = facts.metrics
    champion = metrics.get("champion")
    yield (
        f"Compared with the version then in serving, {champion.get('version')} (the champion)."
        if champion
        else "There was no version in serving to compare with."
    )
    gates = metrics.get("gates") or []
    if any(gate.get("champion") is not None for gate in gates):
        compared = ("champion", "difference", "limit")
        yield Grid(
            ("gate", "value", *compared),
            [
                (
                    _title(gate),
                    number(gate.get("value")),
                    *(_or_none(gate.get(key)) for key in compared),
                )
                for gate in gates
            ],
            "Gates: comparison with the champion",
        )
    if gates:
        yield "Reasons of the thresholds:"
        yield tuple(f"{_title(g)}: {sentence(g['reason'])}" for g in gates if g.get("reason"))
    figures = metrics.get("figures") or []
    with_champion = any(figure.get("champion") is not None for figure in figures)
    yield Grid(
        (
            *("figure", "value", "95 % interval", "reference", "reference is"),
            *(("champion",) if with_champion else ()),
        ),
        [
            (
                _title(figure),
                number(figure.get("value")),
                _range(figure.get("interval")),
                _or_none(figure.get("floor")),
                figure.get("floor_title") or "none",
                *((_or_none(figure.get("champion")),) if with_champion else ()),
            )
            for figure in figures
        ],
        "Figures",
    )
    reasons = not_measured(metrics)
    if reasons:
        yield "Missing:"
        yield tuple(f"{', '.join(titles)}: {why}" for why, titles in reasons.items())
    for table in metrics.get("tables") or []:
        rows = [[number(cell) for cell in row] for row in table.get("rows") or []]
        yield Grid(table.get("columns") or [], rows, table.get("title") or "")
    check = facts.serving_check
    if check and check.get("latency_ms"):
        rows = [
            (name, number(found.get("batch")), number(found.get("p50")), number(found.get("p95")))
            for name, found in check["latency_ms"].items()
        ]
        title = f"Answers of {check.get('server') or 'a model server'}, milliseconds"
        yield Grid(("signature", "images per call", "p50", "p95"), rows, title)


def not_measured(metrics: Mapping[str, Any]) -> dict[str, list[str]]:
    """Titles of the figures without a value, by the reason why."""
    reasons: dict[str, list[str]] = {}
    for figure in metrics.get("figures") or []:
        if number(figure.get("value")) == MISSING:
            why = sentence(figure.get("missing") or f"why is {UNKNOWN}")
            reasons.setdefault(why, []).append(_title(figure))
    return reasons


def _caveats(facts: Facts) -> Iterator[str]:
    yield from WORDS[facts.model].caveats
    yield (
        "Distances on the judge's features compare only under the same judge; use their multiple "
        "of the floor across runs."
    )
    yield "Measure again on data of your own before you rely on any of these figures."
    yield from facts.metrics.get("notes") or []


def _known(value: Any) -> str:
    return UNKNOWN if value is None else number(value)


def _range(ends: Sequence[float] | None) -> str:
    words = interval(ends)
    return "none" if words == MISSING else words


def _or_none(value: Any) -> str:
    return "none" if value is None else number(value)
