"""The executor of the node ``Evaluator``: artifacts in, plain function, artifacts out."""

import json
from pathlib import Path

from tfx.dsl.components.base import base_executor

from components.evaluator.config import EvaluatorConfig
from components.evaluator.run import blessing_properties, evaluate, write_blessing
from core.artifacts import (
    CHANGED_GATES,
    MODEL_FILES,
    SAVED_MODEL_DIR,
    check_files,
    unchanged,
)
from core.config import from_dict


class Executor(base_executor.BaseExecutor):
    """Reads ``model``, ``judge`` and ``examples``; writes ``evaluation`` and ``blessing``."""

    def Do(self, input_dict, output_dict, exec_properties) -> None:
        self._log_startup(input_dict, output_dict, exec_properties)
        [model], [judge], [examples] = (input_dict[k] for k in ("model", "judge", "examples"))
        [evaluation], [blessing] = output_dict["evaluation"], output_dict["blessing"]
        config = from_dict(EvaluatorConfig, json.loads(exec_properties["config"]), "evaluator")
        check_files(model)
        check_files(judge)
        with unchanged(Path(model.uri) / SAVED_MODEL_DIR) as files:
            result = evaluate(
                model_name=exec_properties["model_name"],
                model_uri=model.uri,
                judge_uri=judge.uri,
                examples_uri=examples.uri,
                serving_dir=exec_properties["serving_dir"],
                config=config,
                output_dir=evaluation.uri,
            )
        write_blessing(result, blessing.uri)
        blessing.set_string_custom_property(MODEL_FILES, files)
        if changed := exec_properties.get(CHANGED_GATES):
            blessing.set_string_custom_property(CHANGED_GATES, changed)
        for key, value in blessing_properties(result, model.uri).items():
            if isinstance(value, int):
                blessing.set_int_custom_property(key, value)
            else:
                blessing.set_string_custom_property(key, value)
