"""Report: the TFX node that writes index.html from whatever the run has produced.

Contract: every input is optional and named ``<model>_<role>``, so the same node runs on both
runners and a rejected model still yields a report. Output ``report`` is a ``ModelEvaluation``
whose directory holds ``index.html``. Takes about a second.
"""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.origin import origin
from components.report.data import (
    Link,
    ModelReport,
    Push,
    ReportData,
    Stage,
    read_evaluation,
    read_json,
    read_lineage,
    read_stage,
    read_statistics,
)
from components.report.render import render_report

TITLES = {"autoencoder": "Autoencoder", "diffusion": "Diffusion model", "gan": "GAN"}
SPLITS = ("train", "eval", "test")
PAGE = "index.html"

_ROLES = {
    "model": standard_artifacts.Model,  # the one that is evaluated and pushed
    "base_model": standard_artifacts.Model,  # what it was fine-tuned from
    "evaluation": standard_artifacts.ModelEvaluation,
    "blessing": standard_artifacts.ModelBlessing,
    "infra_blessing": standard_artifacts.InfraBlessing,
    "pushed_model": standard_artifacts.PushedModel,
}


class ReportSpec(component_spec.ComponentSpec):
    """Optional inputs by name, the resolved configuration as JSON, and the page."""

    PARAMETERS = {"config": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        f"{model}_{role}": component_spec.ChannelParameter(type=kind, optional=True)
        for model in TITLES
        for role, kind in _ROLES.items()
    } | {
        "judge": component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
        "statistics": component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
        "findings": component_spec.ChannelParameter(
            type=standard_artifacts.ExampleAnomalies, optional=True
        ),
    }
    OUTPUTS = {
        "report": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
    }


class Executor(base_executor.BaseExecutor):
    """Reads the artifacts, renders the page, writes it."""

    def Do(self, input_dict, output_dict, exec_properties) -> None:
        run_id = (self._context and self._context.pipeline_run_id) or "unknown"
        created = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
        artifacts = {name: found[0] for name, found in input_dict.items() if found}
        config = json.loads(exec_properties["config"])
        page = render_report(collect(artifacts, run_id, created, config))
        [report] = output_dict["report"]
        os.makedirs(report.uri, exist_ok=True)
        with open(os.path.join(report.uri, PAGE), "w", encoding="utf-8") as file:
            file.write(page)


class Report(base_component.BaseComponent):
    """Node of the report; see the module's docstring."""

    SPEC_CLASS = ReportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, config: str, **inputs):
        report = channel.Channel(type=standard_artifacts.ModelEvaluation)
        super().__init__(spec=ReportSpec(config=config, report=report, **inputs))


def collect(
    artifacts: dict[str, Any], run_id: str, created: str, config: dict[str, Any]
) -> ReportData:
    """Reads everything the artifacts hold, by the names of ``ReportSpec.INPUTS``."""

    def uri(name: str) -> str | None:
        return artifacts[name].uri if name in artifacts else None

    findings = uri("findings")
    statistics = uri("statistics")
    return ReportData(
        run_id=run_id,
        created=created,
        models=[_model(name, title, artifacts) for name, title in TITLES.items()],
        judge=read_stage("Training", uri("judge")) if uri("judge") else None,
        splits=read_statistics(statistics, SPLITS) if statistics else [],
        findings=read_json(Path(findings) / "anomalies.json") if findings else None,
        links=[Link(name, a.type_name, origin(a)) for name, a in sorted(artifacts.items())],
        config=config,
    )


def _model(name: str, title: str, artifacts: dict[str, Any]) -> ModelReport:
    found = {role: artifacts.get(f"{name}_{role}") for role in _ROLES}
    trained, tuned = found["base_model"], found["model"]
    stages: list[Stage] = []
    if trained:
        stages.append(read_stage("Training", trained.uri))
    if tuned:
        stages.append(read_stage("Fine-tuning" if trained else "Training", tuned.uri))
    evaluation = found["evaluation"]
    metrics, pictures = read_evaluation(evaluation.uri) if evaluation else (None, [])
    blessing, check = found["blessing"], found["infra_blessing"]
    return ModelReport(
        name=name,
        title=title,
        stages=stages,
        evaluation=metrics,
        pictures=pictures,
        blessed=bool(blessing.get_int_custom_property("blessed")) if blessing else None,
        reason=blessing.get_string_custom_property("reason") if blessing else "",
        serving_check=read_json(Path(check.uri) / "serving_check.json") if check else None,
        push=_push(found["pushed_model"]) if found["pushed_model"] else None,
    )


def _push(pushed: Any) -> Push:
    destination = pushed.get_string_custom_property("pushed_destination")
    return Push(
        pushed=bool(pushed.get_int_custom_property("pushed")),
        destination=destination,
        version=pushed.get_string_custom_property("pushed_version"),
        lineage=read_lineage(destination) if destination else None,
    )
