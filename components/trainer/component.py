"""The trainers' nodes: TFX's own Trainer, with a digest of the model that it wrote.

Contract: parameters, inputs and outputs are those of ``tfx.components.Trainer``. The output
``model`` has the custom property ``digest`` in addition; a ``base_model`` is loaded only if its
files are those that its own trainer wrote.
"""

from tfx.components import Trainer as TfxTrainer
from tfx.components.trainer.executor import GenericExecutor
from tfx.dsl.components.base import executor_spec

from core.artifacts import check_files, record_files


class Executor(GenericExecutor):
    """Checks the base model, trains, and records what was written."""

    def Do(self, input_dict, output_dict, exec_properties) -> None:
        for base_model in input_dict.get("base_model") or []:
            check_files(base_model)
        super().Do(input_dict, output_dict, exec_properties)
        [model] = output_dict["model"]
        record_files(model)


class Trainer(TfxTrainer):
    """Node that trains one stage of a model; see the module's docstring."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
