"""The nodes ``schema`` and ``data-gate``.

Contract: ``schema`` emits the files of the data directory (Schema, and ExampleStatistics of its
baseline with the splits train and test, none without a baseline). ``data-gate`` raises
``DataGateError``, which ends the run, or emits its findings as anomalies.json in an
ExampleAnomalies artifact. No later node may run without it: Transform is made to wait for it.
"""

import dataclasses
import json
import logging

from tfx import types
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base import base_component
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils

FINDINGS_FILE = "anomalies.json"
_STATISTICS_FILE = "FeatureStats.pb"  # as StatisticsGen names it
_ANOMALIES_FILE = "SchemaDiff.pb"  # as ExampleValidator names it

_LOG = logging.getLogger(__name__)


def make_schema(data_dir: str, content: str = "") -> base_component.BaseComponent:
    """Builds the node ``schema``; a changed file of the data directory breaks its cache.

    ``content`` is as for ``make_example_gen``.
    """
    return EmitSchema(data_dir=data_dir, content=content).with_id("schema")


@component
def EmitSchema(
    data_dir: Parameter[str],
    content: Parameter[str],
    schema: OutputArtifact[standard_artifacts.Schema],
    baseline: OutputArtifact[standard_artifacts.ExampleStatistics],
) -> None:
    """Copies schema and baseline of ``data_dir``, whose digest is ``content``."""
    from components.data_gate.baseline import BASELINE_FILE, read_baseline
    from components.data_gate.content import MORE_FILES
    from components.data_gate.schema import SCHEMA_FILE, read_schema
    from components.idx_example_gen import data

    io_utils.write_pbtxt_file(f"{schema.uri}/{SCHEMA_FILE}", read_schema(data_dir))
    known = read_baseline(data_dir) or {}
    baseline.split_names = artifact_utils.encode_split_names(list(known))
    for split, statistics in known.items():
        uri = artifact_utils.get_split_uri([baseline], split)
        io_utils.write_bytes_file(f"{uri}/{_STATISTICS_FILE}", statistics.SerializeToString())
    data.check_unchanged(content, data.digest(data_dir, *MORE_FILES["schema"]), data_dir)
    if not known:
        _LOG.warning(
            "%s has no %s, so drift is not measured. When the data is known to be good, write one "
            "with: inkwell baseline --data %s",
            data_dir,
            BASELINE_FILE,
            data_dir,
        )


@component
def DataGate(
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    schema: InputArtifact[standard_artifacts.Schema],
    baseline: InputArtifact[standard_artifacts.ExampleStatistics],
    example_anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    examples: InputArtifact[standard_artifacts.Examples],
    findings: OutputArtifact[standard_artifacts.ExampleAnomalies],
    max_images: Parameter[int] = 0,
    allow: Parameter[str] = "",
) -> None:
    """Judges the statistics, and what was found in the images.

    ``max_images`` is ``DataConfig.max_images``, 0 for all; ``allow`` is ``DataConfig.allow``, with
    commas between.
    """
    from components.data_gate import gate, histograms
    from components.idx_example_gen import findings as image_findings

    allowed = allow.split(",") if allow else []
    found = image_findings.read(examples.uri)
    known, now = _read_statistics(baseline), _read_statistics(statistics)
    checks = gate.inspect(
        now,
        io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(schema.uri)),
        known or None,
        _read_anomalies(example_anomalies),
        max_images or None,
        allowed,
    )
    drift = histograms.compare(now, known, checks)
    checks = [dataclasses.replace(c, passed=c.passed or c.kind in allowed) for c in checks]
    checks += gate.check_images(found, allowed)
    for finding in found:
        _LOG.warning("%s", finding.sentence)
    findings.split_names = statistics.split_names
    io_utils.write_string_file(
        f"{findings.uri}/{FINDINGS_FILE}",
        json.dumps(
            {
                "baseline": bool(known),
                "passed": all(check.passed for check in checks),
                "checks": [dataclasses.asdict(check) for check in checks],
                "histograms": [dataclasses.asdict(histogram) for histogram in drift],
            },
            indent=1,
        ),
    )
    gate.require_clean(checks)
    _LOG.info(
        "Data gate: %d checks passed%s.", len(checks), "" if known else " (no baseline, no drift)"
    )


def _read_statistics(artifact: types.Artifact) -> dict:
    if not artifact.split_names:
        return {}
    return {
        split: stats_artifact_utils.load_statistics(artifact, split).proto()
        for split in artifact_utils.decode_split_names(artifact.split_names)
    }


def _read_anomalies(artifact: types.Artifact) -> dict:
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    result = {}
    for split in artifact_utils.decode_split_names(artifact.split_names):
        uri = artifact_utils.get_split_uri([artifact], split)
        with fileio.open(f"{uri}/{_ANOMALIES_FILE}", "rb") as file:
            result[split] = anomalies_pb2.Anomalies.FromString(file.read())
    return result
