"""The data gate's judgement: statistics, schema and baseline in, checks in plain words out.

Contract: ``inspect`` makes every check and fails none of them; each ``Check`` carries its value and
limit, and a sentence if it failed. ``require_clean`` raises ``DataGateError`` with the sentences.
TFDV measures divergences with the comparators of the schema; the sentences add means and counts, as
a divergence alone is hard to interpret. Takes milliseconds.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from components.data_gate.hints import explain
from components.data_gate.schema import UNKNOWN_MAX_LABEL, label_domain
from components.idx_example_gen.config import Known
from components.idx_example_gen.encode import EVAL_BUCKETS, TRAIN_BUCKETS
from components.idx_example_gen.findings import Finding, stopping
from core.config import InputError

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

    Statistics = statistics_pb2.DatasetFeatureStatisticsList

# TFDV's text has this after some numbers.
_PRECISION = re.compile(r" ?\(up ?to six significant digits\)")


@dataclasses.dataclass(frozen=True)
class Check:
    """One check of one split."""

    name: str  # the feature, or "images"
    split: str
    kind: str  # "filled", "count", "gaps", "drift", "skew", "schema", or the name of a finding
    value: float  # divergence, share of the expected count, or number of faults
    limit: float  # the largest value that passes; for "count" the smallest
    passed: bool
    sentence: str  # "" if passed


class DataGateError(InputError):
    """The data is faulty; each of ``sentences`` describes one anomaly.

    ``names`` are those by which ``data.allow`` tolerates the anomalies, as far as it can.
    """

    def __init__(self, sentences: Sequence[str], names: Sequence[str] = ()):
        self.sentences, self.names = list(sentences), list(names)
        way_on = f", or allow what is known: --set data.allow=[{','.join(names)}]" if names else ""
        count = f"{len(sentences)} anomalies" if len(sentences) > 1 else "an anomaly"
        lines = "".join(f"\n  - {sentence}" for sentence in sentences)
        super().__init__(
            f"The data gate found {count}. Fix the data or, if the data is correct, update "
            f"schema.pbtxt and baseline.pbtxt{way_on}:{lines}"
        )


def inspect(
    statistics: Mapping[str, Statistics],
    schema: schema_pb2.Schema,
    baseline: Mapping[str, Statistics] | None = None,
    anomalies: Mapping[str, anomalies_pb2.Anomalies] | None = None,
    max_images: int | None = None,
    allow: Sequence[str] = (),
) -> list[Check]:
    """Makes every check.

    Args:
        statistics: Of the splits train, eval and test.
        schema: With the comparators' limits.
        baseline: Of known good train and test splits; without it nothing is compared over time.
        anomalies: ExampleValidator's anomalies per split; if None, they are computed here.
        max_images: ``DataConfig.max_images``: as many images per file are expected, not all of
            the baseline's.
        allow: ``DataConfig.allow``: known faults that break the schema by themselves.
    """
    if anomalies is None:
        anomalies = {split: _validate(stats, schema) for split, stats in statistics.items()}
    full = {split: stats for split, stats in statistics.items() if stats.datasets[0].num_examples}
    checks = [_check_filled(split, split in full) for split in statistics]
    known = {split: stats for split, stats in (baseline or {}).items() if split in full}
    for split, reference in known.items():
        checks.append(_check_count(split, full[split], reference, schema, max_images))
    checks += _check_classes(full, schema)
    for split, reference in known.items():
        info = _validate(full[split], schema, previous_statistics=reference).drift_skew_info
        checks += _check_moves(split, "drift", info, full[split], reference)
    for split in [name for name in full if name != "train" and "train" in full]:
        info = _validate(full["train"], schema, serving_statistics=full[split]).drift_skew_info
        checks += _check_moves(split, "skew", info, full[split], full["train"])
    checks += [_check_schema(split, anomalies[split], allow) for split in full]
    return checks


def check_images(found: Sequence[Finding], allow: Sequence[str] = ()) -> list[Check]:
    """The findings of images and labels as checks, which fail where they stop a run."""
    stop = stopping(found, allow)
    return [
        Check("images", each.split, each.name, each.count, 0, each not in stop, each.sentence)
        for each in found
    ]


def require_clean(checks: Sequence[Check], allow: Sequence[str] = ()) -> None:
    """Raises ``DataGateError`` if any check failed that is not of a kind in ``allow``.

    A fault of the images shows in many scalars and splits: there is one sentence per scalar, for
    its worst split; those with a hint at the cause come first.
    """
    failed: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        if not check.passed and check.kind not in allow:
            failed.setdefault((check.name, check.kind), []).append(check)
    sentences = []
    for group in failed.values():
        worst = max(group, key=lambda check: abs(check.value - check.limit))
        others = [check.split for check in group if check is not worst]
        more = f" The same in {' and '.join(others)}." if others else ""
        sentences.append(worst.sentence + more)
    kinds = {kind for _, kind in failed} & set(get_args(Known))
    if sentences:
        raise DataGateError(
            sorted(sentences, key=lambda sentence: "?" not in sentence), sorted(kinds)
        )


def class_counts(statistics: Statistics) -> dict[int, int]:
    """Examples per label, in the order of the labels."""
    label = _features(statistics).get("label")
    buckets = label.string_stats.rank_histogram.buckets if label else ()
    return dict(sorted((int(b.label), int(b.sample_count)) for b in buckets))


def _check_filled(split: str, is_filled: bool) -> Check:
    """Whether the split holds any image.

    Identical images leave a split empty, as the pixels decide which images go to eval.
    """
    sentence = f"{split} holds no image: are all images of its file the same, blank for instance?"
    return _check("images", split, "filled", 0 if is_filled else 1, 0, is_filled, sentence)


def _check_count(
    split: str,
    statistics: Statistics,
    known: Statistics,
    schema: schema_pb2.Schema,
    max_images: int | None,
) -> Check:
    """Whether there are as many images as the baseline holds, or as ``max_images`` allows."""
    expected = float(known.datasets[0].num_examples)
    if max_images is not None:
        # The limit is per file; of the training file a part goes to eval.
        share = TRAIN_BUCKETS / (TRAIN_BUCKETS + EVAL_BUCKETS) if split == "train" else 1.0
        expected = min(expected, max_images * share)
    comparator = schema.dataset_constraints.num_examples_drift_comparator
    limit = comparator.min_fraction_threshold
    count = int(statistics.datasets[0].num_examples)
    fraction = count / expected
    sentence = (
        f"{split} holds {count:,} images, {fraction:.1%} of the {expected:,.0f} expected from the "
        f"baseline (limit {limit:.0%}): is its file complete?"
    )
    return _check("images", split, "count", fraction, limit, fraction >= limit, sentence)


def _check_classes(statistics: Mapping[str, Statistics], schema: schema_pb2.Schema) -> list[Check]:
    """Whether every class has an example in every split."""
    counts = {split: class_counts(stats) for split, stats in statistics.items()}
    domain = label_domain(schema)
    top = domain.max
    if top == UNKNOWN_MAX_LABEL:
        top = max((label for labels in counts.values() for label in labels), default=0)
    expected = range(domain.min, top + 1)
    checks = []
    for split, labels in counts.items():
        missing = [str(label) for label in expected if label not in labels]
        sentence = (
            f"{split} has no image of class {', '.join(missing)}; the labels should run from "
            f"{domain.min} to {top}: is a class missing from the labels file?"
        )
        checks.append(_check("label", split, "gaps", len(missing), 0, not missing, sentence))
    return checks


def _check_moves(split: str, kind: str, infos, now: Statistics, known: Statistics) -> list[Check]:
    """The comparators' measurements: drift against the baseline or skew against train."""
    means, known_means = _means(now), _means(known)
    reference = "the baseline" if kind == "drift" else "train"
    checks = []
    for info in infos:
        name = info.path.step[0]
        for measured in info.drift_measurements if kind == "drift" else info.skew_measurements:
            value, limit = measured.value, measured.threshold
            if name == "label":
                how = _describe_label_move(now, known, value, limit, reference)
            else:
                hint = explain(name, means, known_means)
                how = (
                    f"distribution moved from {reference} (Jensen-Shannon {value:.2f}, limit "
                    f"{limit:.2f}): mean {means[name]:.3g}, was {known_means[name]:.3g}"
                    + (f"; {hint}" if hint else ".")
                )
            sentence = f"{name} in {split}: {how}"
            checks.append(_check(name, split, kind, value, limit, value <= limit, sentence))
    return checks


def _check_schema(split: str, anomalies: anomalies_pb2.Anomalies, allow: Sequence[str]) -> Check:
    """Everything that breaks the schema in one split: types, presence, ranges, too few images."""
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    found = []
    for name, info in sorted(anomalies.anomaly_info.items()):
        found += [
            f"{name}: {_plain(reason)}"
            for reason in info.reason
            # ``_check_moves`` reports the anomalies of comparators.
            if not anomalies_pb2.AnomalyInfo.Type.Name(reason.type).startswith("COMPARATOR")
            and not (name == "mean_intensity" and "blank" in allow)
        ]
    if "few" not in allow:
        found += [f"images: {_plain(reason)}" for reason in anomalies.dataset_anomaly_info.reason]
    sentence = f"{split} breaks the schema: {'; '.join(found)}."
    return _check("images", split, "schema", len(found), 0, not found, sentence)


def _check(
    name: str, split: str, kind: str, value: float, limit: float, passed: bool, sentence: str
) -> Check:
    return Check(
        name, split, kind, float(value), float(limit), bool(passed), "" if passed else sentence
    )


def _describe_label_move(
    now: Statistics, known: Statistics, value: float, limit: float, reference: str
) -> str:
    shares, known_shares = _shares(now), _shares(known)
    label = max(
        set(shares) | set(known_shares),
        key=lambda item: abs(shares.get(item, 0.0) - known_shares.get(item, 0.0)),
    )
    return (
        f"class shares moved from {reference} (largest change {value:.2f}, limit {limit:.2f}): "
        f"class {label} makes {shares.get(label, 0.0):.1%}, was {known_shares.get(label, 0.0):.1%}."
    )


def _shares(statistics: Statistics) -> dict[int, float]:
    counts = class_counts(statistics)
    return {label: count / sum(counts.values()) for label, count in counts.items()}


def _means(statistics: Statistics) -> dict[str, float]:
    return {
        name: feature.num_stats.mean
        for name, feature in _features(statistics).items()
        if feature.WhichOneof("stats") == "num_stats"
    }


def _features(statistics: Statistics) -> dict:
    return {feature.path.step[0]: feature for feature in statistics.datasets[0].features}


def _plain(reason) -> str:
    """TFDV's reason as a clause of a sentence."""
    text = _PRECISION.sub("", f"{reason.short_description} ({reason.description})")
    return (text[0].lower() + text[1:]).replace(".)", ")").replace(">", " > ").replace("<", " < ")


def _validate(statistics, schema, **others) -> anomalies_pb2.Anomalies:
    import tensorflow_data_validation as tfdv

    return tfdv.validate_statistics(statistics, schema, **others)
