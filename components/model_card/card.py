"""Content of a model card (Mitchell et al. 2019, "Model Cards for Model Reporting", section 4).

Contract: ``build_card`` is pure and adds no facts. Its sources are the version's metrics.json,
lineage, trainings, statistics and serving check; other facts are shown as not known, and a metric
without a value as missing, with its reason. Both formats are written from the same content.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from components.model_card.content import UNKNOWN, Card, Facts, Grid, Section
from components.model_card.header import header
from components.model_card.results import analyses, overview, title_of
from components.model_card.words import ETHICS, OUT_OF_SCOPE, USERS, words_of
from core.artifacts import Stage
from core.origin import public
from core.statistics import SplitStatistics
from core.wording import number

_CITATION = "Mitchell et al. 2019, Model cards for model reporting, FAT*."


def build_card(facts: Facts) -> Card:
    """Puts the facts under the nine headings of a model card."""
    words = words_of(facts.model)
    return Card(
        header=header(facts),
        title=f"Model card: {words.title}",
        summary=words.summary,
        overview=list(overview(facts)),
        pictures=[picture for picture in facts.pictures if picture.png],
        sections=[
            Section("Model details", list(_details(facts))),
            Section(
                "Intended use",
                [
                    "Uses that the model was made and measured for:",
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
            Section("Quantitative analyses", list(analyses(facts))),
            Section("Ethical considerations", [ETHICS]),
            Section("Caveats and recommendations", [tuple(_caveats(facts))]),
        ],
    )


def _details(facts: Facts) -> Iterator[str | Grid]:
    words, lineage = words_of(facts.model), facts.lineage
    yield words.method
    weights = _parameters(facts.stages[-1]) if facts.stages else None
    yield Grid(
        ("field", "value"),
        [
            ("served as", facts.model),
            ("version", "the name of the directory that holds assets.extra with this card"),
            ("pushed", lineage.get("pushed_at") or UNKNOWN),
            ("pipeline run", lineage.get("run_id") or UNKNOWN),
            ("model artifact", public(lineage.get("model_uri") or UNKNOWN)),
            ("evaluation", public(lineage.get("evaluation_uri") or UNKNOWN)),
            ("weights", _known(weights)),
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
    return _known(value)


def _factors(facts: Facts) -> Iterator[str | tuple[str, ...]]:
    yield "Factors that the evaluation varies:"
    yield tuple(words_of(facts.model).factors)
    yield (
        "Relevant factors that were not varied: the writer, the pen, the scanner, and digits that "
        "touch or are cropped. The data does not describe these."
    )


def _metrics(facts: Facts) -> Iterator[str | Grid]:
    yield (
        "Every metric is measured on images that were not trained on. Its reference value is what "
        "real images or the best simple method reach under the same protocol: a floor where lower "
        "is better, else a reference. Intervals are 95 % "
        "bootstrap intervals over the images; they cover the choice of images, not the spread of "
        "retraining."
    )
    seen: dict[str, list[str]] = {}
    for figure in facts.metrics.get("figures") or []:
        better = f" {figure['better'].capitalize()} is better." if figure.get("better") else ""
        seen.setdefault((figure.get("description") or UNKNOWN) + better, []).append(
            title_of(figure)
        )
    rows = [("; ".join(titles), description) for description, titles in seen.items()]
    yield Grid(("metric", "what it means"), rows)


def _evaluation_data(facts: Facts) -> Iterator[str | Grid]:
    test = [split for split in facts.splits if split.name == "test"]
    yield (
        f"The test split of {_data(facts) or 'a data directory that is ' + UNKNOWN}: "
        f"{number(test[0].examples) + ' images' if test else 'its size is ' + UNKNOWN}. No model "
        "was trained on it. The gates use it, so the metrics of a version that passed them "
        "are slightly too good. "
        f"The first metrics use {_known(facts.metrics.get('samples'))} images and seed "
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
    return public(facts.data_dir, parts=1)


def _shares(splits: Sequence[SplitStatistics]) -> Iterator[Grid]:
    shares = {split.name: split.label_shares for split in splits}
    labels = list(dict.fromkeys(label for share in shares.values() for label in share))
    if labels:
        rows = [(label, *(number(s.get(label)) for s in shares.values())) for label in labels]
        yield Grid(("class", *(f"{name}, %" for name in shares)), rows, "Share of each class")


def _caveats(facts: Facts) -> Iterator[str]:
    yield from words_of(facts.model).caveats
    yield (
        "Distances on the judge's features are comparable only under the same judge; across runs, "
        "compare their multiples of the floor."
    )
    yield "Measure again on your own data before you rely on any of these metrics."
    yield from facts.metrics.get("notes") or []


def _known(value: Any) -> str:
    return UNKNOWN if value is None else number(value)
