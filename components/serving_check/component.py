"""The node serving-check-*: TFX around ``check_model``.

Contract: output ``blessing`` is an InfraBlessing with the file INFRA_BLESSED or INFRA_NOT_BLESSED,
the custom properties ``blessed`` (int), ``reason`` and ``model_files`` (str), serving_check.json,
and, if blessed, tf_serving_warmup_requests for ``assets.extra``. A refused model does not fail the
run.
"""

import dataclasses
import json
import logging
import os
from pathlib import Path
from typing import Any

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.serving_check.config import ServingCheckConfig
from core.artifacts import MODEL_FILES, SAVED_MODEL_DIR, check_files, unchanged
from core.config import from_dict
from core.files import write_whole

RESULT_FILE = "serving_check.json"
SPLIT_DIR = "Split-eval"

_LOGGER = logging.getLogger(__name__)


class ServingCheckSpec(component_spec.ComponentSpec):
    """The candidate, transformed examples to send to it, and the verdict."""

    PARAMETERS = {
        "model_name": component_spec.ExecutionParameter(type=str),  # under which it is served
        "config": component_spec.ExecutionParameter(type=str),  # JSON of ServingCheckConfig
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        # Transform's, with a split ``eval``.
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
    }


class Executor(base_executor.BaseExecutor):
    """Reads the artifacts, checks, writes the blessing."""

    def Do(self, input_dict, output_dict, exec_properties) -> None:
        # TensorFlow takes seconds to import, and building the pipeline needs none of it.
        from components.serving_check.check import check_model
        from components.serving_check.warmup import write_warmup
        from core.digits import read_digits

        [model], [examples] = input_dict["model"], input_dict["examples"]
        [blessing] = output_dict["blessing"]
        check_files(model)
        model_name = exec_properties["model_name"]
        config = from_dict(ServingCheckConfig, json.loads(exec_properties["config"]))
        digits = read_digits([os.path.join(examples.uri, SPLIT_DIR, "*")])
        model_dir = os.path.join(model.uri, SAVED_MODEL_DIR)

        with unchanged(model_dir) as files:
            result = check_model(model_dir, model_name, digits.images, config)
        _LOGGER.info(
            "Serving check of %s %s: %s",
            model_name,
            "passed" if result.passed else "refused the model",
            result.reason,
        )
        out = Path(blessing.uri)
        write_whole(out / RESULT_FILE, json.dumps(result.to_json(), indent=2) + "\n")
        (out / ("INFRA_BLESSED" if result.passed else "INFRA_NOT_BLESSED")).touch()
        if result.passed:
            write_warmup(out, model_name, result.warmup)
        blessing.set_int_custom_property("blessed", int(result.passed))
        blessing.set_string_custom_property("reason", result.reason)
        blessing.set_string_custom_property(MODEL_FILES, files)


class ServingCheck(base_component.BaseComponent):
    """Node that checks a candidate on a real model server; see the module's docstring."""

    SPEC_CLASS = ServingCheckSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, config: ServingCheckConfig, **given: Any):
        """Builds the node from the parameters and inputs of ``ServingCheckSpec``."""
        given["config"] = json.dumps(dataclasses.asdict(config), sort_keys=True)
        blessing = channel.Channel(type=standard_artifacts.InfraBlessing)
        super().__init__(spec=ServingCheckSpec(blessing=blessing, **given))
