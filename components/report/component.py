"""Report: the TFX node that writes index.html from the artifacts of the run.

Contract: every input is optional and named ``<model>_<role>``, so the same node runs on both
runners and a rejected model still yields a report. Output ``report`` is a ``ModelEvaluation``
whose directory holds ``index.html``. Takes about a second.
"""

import datetime
import json
import os
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.model_card.words import words_of
from components.report.data import (
    Link,
    ModelReport,
    Push,
    ReportData,
    read_map,
    read_push,
    read_since,
)
from components.report.render import render_report
from core.artifacts import read_evaluation, read_json, read_stage, read_stages
from core.files import write_whole
from core.models import MODELS
from core.origin import origin, public, sources
from core.statistics import read_statistics

PAGE = "index.html"

_ROLES = {
    "model": standard_artifacts.Model,  # the evaluated and pushed model
    "base_model": standard_artifacts.Model,  # the model before fine-tuning
    "evaluation": standard_artifacts.ModelEvaluation,
    "blessing": standard_artifacts.ModelBlessing,
    "infra_blessing": standard_artifacts.InfraBlessing,
    "pushed_model": standard_artifacts.PushedModel,
}
_FOLDERS = ("data_dir", "output_dir", "serving_dir")  # settings; pages are passed on


class ReportSpec(component_spec.ComponentSpec):
    """Optional inputs by name, the resolved configuration as JSON, and the page."""

    PARAMETERS = {"config": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        f"{model}_{role}": component_spec.ChannelParameter(type=kind, optional=True)
        for model in MODELS
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
        [report] = output_dict["report"]
        page = render_report(collect(artifacts, run_id, created, config, report.uri))
        write_whole(os.path.join(report.uri, PAGE), page)


class Report(base_component.BaseComponent):
    """Node of the report; see the module's docstring."""

    SPEC_CLASS = ReportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, config: str, **inputs):
        report = channel.Channel(type=standard_artifacts.ModelEvaluation)
        super().__init__(spec=ReportSpec(config=config, report=report, **inputs))


def collect(
    artifacts: dict[str, Any], run_id: str, created: str, config: dict[str, Any], page_dir: str
) -> ReportData:
    """Reads the artifacts, by the names of ``ReportSpec.INPUTS``."""

    def uri(name: str) -> str | None:
        return artifacts[name].uri if name in artifacts else None

    findings = uri("findings")
    statistics = uri("statistics")
    return ReportData(
        run_id=run_id,
        created=created,
        models=[_model(name, artifacts, page_dir) for name in MODELS],
        judge=read_stage("Training", uri("judge")) if uri("judge") else None,
        splits=read_statistics(statistics) if statistics else [],
        findings=read_json(Path(findings) / "anomalies.json") if findings else None,
        links=[Link(name, a.type_name, public(origin(a))) for name, a in sorted(artifacts.items())],
        config={**config, **{n: public(config[n], parts=1) for n in _FOLDERS if n in config}},
    )


def _model(name: str, artifacts: dict[str, Any], page_dir: str) -> ModelReport:
    found = {role: artifacts.get(f"{name}_{role}") for role in _ROLES}
    uris = {role: artifact.uri if artifact else None for role, artifact in found.items()}
    evaluation, check = uris["evaluation"], uris["infra_blessing"]
    metrics, pictures = read_evaluation(evaluation) if evaluation else (None, [])
    made_from = {**found, "statistics": artifacts.get("statistics")}
    blessing = found["blessing"]
    return ModelReport(
        name=name,
        title=words_of(name).title,
        stages=read_stages(uris["base_model"], uris["model"]),
        evaluation=metrics,
        pictures=pictures,
        map=read_map(evaluation) if evaluation else None,
        blessed=bool(blessing.get_int_custom_property("blessed")) if blessing else None,
        reason=blessing.get_string_custom_property("reason") if blessing else "",
        serving_check=read_json(Path(check) / "serving_check.json") if check else None,
        push=_push(found["pushed_model"], page_dir) if found["pushed_model"] else None,
        since=read_since(name, metrics, sources(name, made_from)) if metrics else None,
    )


def _push(pushed: Any, page_dir: str) -> Push:
    destination = pushed.get_string_custom_property("pushed_destination")
    if not pushed.get_int_custom_property("pushed"):
        return Push(pushed=False, reason=pushed.get_string_custom_property("reason"))
    return read_push(destination, pushed.get_string_custom_property("pushed_version"), page_dir)
