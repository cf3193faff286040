"""The node push-*: TFX around ``push``, in place of TFX's own Pusher.

TFX's Pusher copies into the numbered directory, where a server may pick up half a model, skips a
second push in one second, and takes no evaluation or model card to ship with the model.

Contract: pushes only if both verdicts exist, say ``blessed`` and are about these files, and if
clients get the champion of the evaluation; otherwise the destination is unchanged and ``pushed`` is
0. Output ``pushed_model`` has the custom properties of TFX's Pusher (``pushed``,
``pushed_destination``, ``pushed_version``), ``reason``, ``superseded`` (1 if another champion is
the reason), and pushed.json.
"""

import datetime
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.model_card.card import Facts, build_card
from components.model_card.formats import to_html, to_markdown
from components.pusher.push import KEEP_VERSIONS, Approval, Superseded, push
from core.artifacts import (
    CHANGED_GATES,
    HISTORY_FILE,
    KERAS_DIR,
    METRICS_FILE,
    MODEL_FILES,
    SAVED_MODEL_DIR,
    SUPERSEDED,
    WARM_START,
    check_files,
    key_pictures,
    read_evaluation,
    read_json,
    read_stages,
)
from core.config import InputError
from core.files import write_whole
from core.origin import origin, public, public_metrics, sources
from core.statistics import read_statistics
from serving.errors import ServingError
from serving.signing import signing_key
from serving.versions import (
    CARD_HTML,
    CARD_MARKDOWN,
    CLUSTERS_FILE,
    DATA_RECORD_FILE,
    LINEAGE_FILE,
    WARMUP_FILE,
)

RESULT_FILE = "pushed.json"
_VERDICTS = {"model_blessing": "evaluation", "infra_blessing": "serving check"}

_LOGGER = logging.getLogger(__name__)


class PusherSpec(component_spec.ComponentSpec):
    """The model, both verdicts on it, its evaluation, and further sources of its card."""

    PARAMETERS = {
        "model_name": component_spec.ExecutionParameter(type=str),  # under which it is served
        # A path on a mounted file system; versions go to ``<serving_dir>/<model_name>``.
        "serving_dir": component_spec.ExecutionParameter(type=str),
        "keep_versions": component_spec.ExecutionParameter(type=int),  # the newest that stay
        "data_dir": component_spec.ExecutionParameter(type=str),  # of the images, for the card
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "infra_blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "base_model": component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True),
        "statistics": component_spec.ChannelParameter(
            type=standard_artifacts.ExampleStatistics, optional=True
        ),
    }
    OUTPUTS = {
        "pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel),
    }


class Executor(base_executor.BaseExecutor):
    """Reads the verdicts, pushes if both approve, and records the result."""

    def Do(self, input_dict, output_dict, exec_properties) -> None:
        try:
            key = signing_key()
        except ServingError as error:
            raise InputError(str(error)) from None
        artifacts = {name: found[0] for name, found in input_dict.items() if found}
        [pushed_model] = output_dict["pushed_model"]
        model_name = exec_properties["model_name"]
        destination = os.path.join(exec_properties["serving_dir"], model_name)
        reason, pushed = refusal(artifacts), None
        if not reason:
            check_files(artifacts["model"])
            model_dir = os.path.join(artifacts["model"].uri, SAVED_MODEL_DIR)
            run_id = self._context and self._context.pipeline_run_id
            extra = extra_files(model_name, artifacts, run_id, exec_properties["data_dir"])
            keep = exec_properties["keep_versions"]
            try:
                approved = approval(artifacts)
                pushed = push(model_dir, destination, extra, keep, approval=approved, key=key)
            except Superseded as error:
                reason = str(error)
                pushed_model.set_int_custom_property(SUPERSEDED, 1)
        result: dict[str, Any] = {"pushed": pushed is not None, "reason": reason}
        pushed_model.set_int_custom_property("pushed", int(pushed is not None))
        if pushed is None:
            _LOGGER.warning("Not pushed to %s: %s", destination, reason)
            pushed_model.set_string_custom_property("reason", reason)
        else:
            _LOGGER.info("Pushed %s", pushed.destination)
            result |= {"destination": pushed.destination, "version": pushed.version}
            pushed_model.set_string_custom_property("pushed_destination", pushed.destination)
            pushed_model.set_string_custom_property("pushed_version", pushed.version)
        write_whole(Path(pushed_model.uri) / RESULT_FILE, json.dumps(result, indent=2) + "\n")


class Pusher(base_component.BaseComponent):
    """Node that pushes an approved model; see the module's docstring."""

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, keep_versions: int = KEEP_VERSIONS, data_dir: str = "", **given: Any):
        """Builds the node from the parameters and inputs of ``PusherSpec``."""
        pushed = channel.Channel(type=standard_artifacts.PushedModel)
        given |= {"keep_versions": keep_versions, "data_dir": data_dir}
        super().__init__(spec=PusherSpec(pushed_model=pushed, **given))


def refusal(artifacts: dict[str, Any]) -> str:
    """Why the verdicts do not allow a push, in words; empty if they do."""
    reasons = []
    for name, title in _VERDICTS.items():
        blessing = artifacts.get(name)
        if blessing is None:
            reasons.append(f"The {title} gave no verdict.")
        elif blessing.get_int_custom_property("blessed") != 1:
            why = blessing.get_string_custom_property("reason")
            reasons.append(f"The {title} refused the model" + (f": {why}" if why else "."))
    return " ".join(reasons)


def approval(artifacts: dict[str, Any]) -> Approval:
    """What both verdicts are about.

    A verdict without digests is none of this pipeline's nodes, whose cache ends with their code: it
    comes from a component that stands in for one of them, and is not compared.
    """
    files = {}
    for name, title in _VERDICTS.items():
        if text := artifacts[name].get_string_custom_property(MODEL_FILES):
            files[title] = json.loads(text)
        else:
            _LOGGER.warning("The %s does not say which files it judged", title)
    # A path, which the pod of the evaluation may see under another name.
    champion = artifacts["model_blessing"].get_string_custom_property("baseline_model")
    return Approval(files, Path(champion).name if champion else "")


def extra_files(
    model_name: str, artifacts: dict[str, Any], run_id: str | None, data_dir: str = ""
) -> dict[str, bytes]:
    """Files for ``assets.extra``: metrics, lineage, model card, Keras files of the first training;
    warm-up requests, clusters and the record of the data if any.

    Args:
        model_name: Name it is served under.
        artifacts: By the names of ``PusherSpec.INPUTS``.
        run_id: Of the pipeline run, if known.
        data_dir: Directory of the images.
    """
    now = datetime.datetime.now(datetime.UTC)
    lineage: dict[str, Any] = {"model": model_name}
    lineage |= {f"{name}_uri": public(origin(found)) for name, found in sorted(artifacts.items())}
    lineage |= {"run_id": run_id or None, "pushed_at": now.isoformat(timespec="seconds")}
    metrics = read_json(Path(artifacts["evaluation"].uri, METRICS_FILE)) or {}
    lineage |= {"quality_gates": metrics.get("quality_gates") is not False}
    lineage |= {"primary": primary(metrics)}
    if changed := artifacts["model_blessing"].get_string_custom_property(CHANGED_GATES):
        lineage |= {CHANGED_GATES: changed}
    lineage |= sources(model_name, artifacts)
    first = Path(artifacts.get("base_model", artifacts["model"]).uri)
    lineage |= {WARM_START: (read_json(first / HISTORY_FILE) or {}).get(WARM_START)}
    files = {
        METRICS_FILE: json.dumps(public_metrics(metrics), indent=1).encode() + b"\n",
        LINEAGE_FILE: json.dumps(lineage, indent=2).encode() + b"\n",
    }
    more = {WARMUP_FILE: "infra_blessing"}
    more |= dict.fromkeys((CLUSTERS_FILE, DATA_RECORD_FILE), "evaluation")
    for name, artifact in more.items():
        path = Path(artifacts[artifact].uri, name)
        if path.is_file():
            files[name] = path.read_bytes()
    for path in sorted(first.glob(f"{KERAS_DIR}/*.keras")):  # what a later training starts from
        files[f"{KERAS_DIR}/{path.name}"] = path.read_bytes()
    return files | card_files(model_name, artifacts, lineage, data_dir)


def primary(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """Name, value and better direction of the primary metric, by which versions are ranked."""
    figures = {figure["name"]: figure for figure in metrics.get("figures", [])}
    found = figures.get(metrics.get("primary"))
    return found and {key: found.get(key) for key in ("name", "value", "better")}


def card_files(
    model_name: str, artifacts: dict[str, Any], lineage: dict[str, Any], data_dir: str
) -> dict[str, bytes]:
    """The model card in both formats."""
    metrics, pictures = read_evaluation(artifacts["evaluation"].uri)
    base, statistics = artifacts.get("base_model"), artifacts.get("statistics")
    facts = Facts(
        model=model_name,
        metrics=metrics or {},
        lineage=lineage,
        stages=read_stages(base.uri if base else None, artifacts["model"].uri),
        splits=read_statistics(statistics.uri) if statistics else [],
        serving_check=read_json(Path(artifacts["infra_blessing"].uri, "serving_check.json")),
        pictures=key_pictures(pictures),
        data_dir=data_dir,
    )
    card = build_card(facts)
    return {CARD_MARKDOWN: to_markdown(card).encode(), CARD_HTML: to_html(card).encode()}
