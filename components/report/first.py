"""What a reader sees first: the verdict on each model, its key metrics and plots, what to look at.

Contract: pure functions of ``ReportData`` to words and to rows of metrics.json; ``noteworthy`` puts
what stopped a model before what only deserves a look.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from components.model_card.results import not_measured
from components.report.data import ModelReport, ReportData, Since
from components.report.topics import by_topic
from core.artifacts import Picture
from core.wording import FORM_ONLY, NOT_RUN, bound, interval, number, sentence, setting

_KEYS = 3  # metrics and plots of a model
_BRIEF = 24  # characters of a setting; digests are longer


class Verdict(NamedTuple):
    """``kind`` is good, bad or unknown; ``title`` a few words; ``reasons`` sentences."""

    kind: str
    title: str
    reasons: list[str]


class Note(NamedTuple):
    """Something to look at; ``kind`` as in ``Verdict``, ``anchor`` the id of its details."""

    kind: str
    words: str
    anchor: str


def verdict(model: ModelReport) -> Verdict:
    """The verdict on the model, and the reasons."""
    if model.push and model.push.pushed:
        form_only = (model.evaluation or {}).get("quality_gates") is False
        title = f"Approved and pushed as version {model.push.version}"
        return Verdict("good", title, [FORM_ONLY] if form_only else [])
    if model.evaluation is None:
        return Verdict("unknown", "Not evaluated", ["The run holds no evaluation of this model."])
    failed = [gate for gate in model.evaluation.get("gates", []) if not gate.get("passed")]
    if failed or model.blessed is False:
        reasons = [gate.get("sentence") or gate.get("title", "") for gate in failed]
        return Verdict("bad", "Not approved", reasons or [model.reason])
    check = model.serving_check
    if check is not None and not check.get("passed"):
        return Verdict("bad", "Approved, but fails the serving check", [check.get("reason", "")])
    why = [model.push.reason] if model.push and model.push.reason else []
    return Verdict("bad", "Approved, but not pushed", why)


def outcome(data: ReportData) -> str:
    """The outcome for all models, in one sentence."""
    pushed = [model.title for model in data.models if model.push and model.push.pushed]
    others = [model.title for model in data.models if model.title not in pushed]
    if not others:
        return f"All {len(pushed)} models were approved and pushed."
    words = f"Not pushed: {', '.join(others)}."
    return f"{words} Pushed: {', '.join(pushed)}." if pushed else f"No model was pushed. {words}"


def key_figures(model: ModelReport) -> list[Mapping[str, Any]]:
    """The gated metrics, in the order of the gates, then the others; three at most."""
    figures = (model.evaluation or {}).get("figures", [])
    gates = [gate.get("metric") for gate in (model.evaluation or {}).get("gates", [])]
    last = len(gates)
    order = {name: i for i, name in enumerate(gates)}
    return sorted(figures, key=lambda figure: order.get(figure.get("name"), last))[:_KEYS]


def threshold_of(model: ModelReport, figure: Mapping[str, Any]) -> str:
    """What the gates demand of a metric, in words; empty if they do not judge it."""
    gates = (model.evaluation or {}).get("gates", [])
    found = [gate for gate in gates if gate.get("metric") == figure.get("name")]
    return bound(found[0].get("direction"), found[0].get("threshold")) if found else ""


def champion_of(model: ModelReport, figure: Mapping[str, Any]) -> float | None:
    """The champion's value of a metric: measured in this run, else in that of its own."""
    if figure.get("champion") is not None or model.since is None:
        return figure.get("champion")
    found = model.since.metrics.get(figure.get("name", ""))
    return found.value if found else None


def first_pictures(model: ModelReport) -> list[Picture]:
    """The first plot of each topic that has one; three at most."""
    found = [[p for p in topic.pictures if p.png] for topic in by_topic(model)]
    return [pictures[0] for pictures in found if pictures][:_KEYS]


def differences(since: Since) -> list[tuple[str, str, str]]:
    """What differs, in words, settings first: the key, and its value then and now."""
    pairs = {**(since.settings or {}), **(since.data or {}), **(since.code or {})}
    return [(key, _brief(then), _brief(now)) for key, (then, now) in pairs.items()]


def alike(since: Since) -> list[str]:
    """In sentences, what is the same, and what was not recorded."""
    parts = {
        "settings of the trainings": since.settings,
        "data": since.data,
        "code and packages": since.code,
    }
    same = ", ".join(name for name, found in parts.items() if found == {})
    unknown = ", ".join(name for name, found in parts.items() if found is None)
    words = (f"The same: {same}.", f"Not recorded with that version: {unknown}.")
    return [text for text, found in zip(words, (same, unknown), strict=True) if found]


def _brief(value: Any) -> str:
    words = setting(value)
    return words if len(words) <= _BRIEF else f"{words[: _BRIEF - 1]}\u2026"


def noteworthy(data: ReportData) -> list[Note]:
    """What to look at, the gravest first."""
    failed = [check for check in (data.findings or {}).get("checks") or [] if not check["passed"]]
    notes = [note for model in data.models for note in _refusals(model)]
    notes += [Note("bad", check["sentence"], "data-findings") for check in failed]
    for doubts in (_losses, _narrow_gates, _form, _events, _warnings, _gaps):
        for model in data.models:
            for words, part in doubts(model):
                notes.append(Note("unknown", f"{model.title}: {words}", f"{model.name}-{part}"))
    return notes


def _refusals(model: ModelReport) -> Iterator[Note]:
    found = verdict(model)
    if found.kind != "good":
        part = "serving" if "serving check" in found.title else "gates"
        for reason in found.reasons or [found.title]:
            yield Note("bad", f"{model.title}: {reason}", f"{model.name}-{part}")


# What follows yields sentences, and the part of the page that says more.
def _losses(model: ModelReport) -> Iterator[tuple[str, str]]:
    for change in model.since.changes if model.since else ():
        if change.verdict == "worse":
            then, now = (number(metric and metric.value) for metric in change.metrics)
            yield f"{change.either.title} is worse than in serving: {then}, now {now}.", "changes"


def _narrow_gates(model: ModelReport) -> Iterator[tuple[str, str]]:
    for gate in (model.evaluation or {}).get("gates") or []:
        ends, threshold = gate.get("interval"), gate.get("threshold")
        if gate.get("passed") and ends and threshold is not None and ends[0] < threshold < ends[1]:
            title = gate.get("title") or gate["metric"]
            reach = f"the 95 % interval, {interval(ends)}, reaches beyond {number(threshold)}"
            yield f"{title} passed narrowly: {reach}.", "gates"


def _form(model: ModelReport) -> Iterator[tuple[str, str]]:
    if (model.evaluation or {}).get("quality_gates") is False:
        yield FORM_ONLY, "gates"


def _events(model: ModelReport) -> Iterator[tuple[str, str]]:
    found = [event for stage in model.stages for event in (stage.history or {}).get("events") or []]
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        first = f"{found[0].get('name')}, step {number(found[0].get('step'))}"
        yield f"Seen in training: {first}{more}.", "training"


def _warnings(model: ModelReport) -> Iterator[tuple[str, str]]:
    for note in (model.evaluation or {}).get("notes") or []:
        yield sentence(note), "gates"


def _gaps(model: ModelReport) -> Iterator[tuple[str, str]]:
    for why, titles in not_measured(model.evaluation or {}).items():
        if why.lower().startswith(NOT_RUN):  # as the settings have it
            continue
        yield f"{len(titles)} metric{'s' * (len(titles) > 1)} not measured: {why}", "gates"
