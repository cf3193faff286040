"""Evaluator: the TFX node that measures one model and blesses it or not.

Contract: one class, three nodes. Inputs ``model``, ``judge`` (Model) and ``examples`` (from
Transform); outputs ``evaluation`` (metrics.json and plots) and ``blessing`` (a file, and the custom
properties ``blessed``, ``current_model``, ``model_files``, ``reason``, ``baseline_model`` if there
is a champion, and ``changed_gates`` if they are not the profile's). Standard artifact types and
string parameters only, so the same node runs on both runners.
"""

from typing import Any

from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.evaluator.executor import Executor


class EvaluatorSpec(component_spec.ComponentSpec):
    """Parameters, inputs and outputs of the node."""

    PARAMETERS = {
        "model_name": component_spec.ExecutionParameter(type=str),  # of the table of models
        "config": component_spec.ExecutionParameter(type=str),  # an ``EvaluatorConfig`` as JSON
        # Models in serving, ``<serving_dir>/<model_name>/<version>``: where the champion is.
        "serving_dir": component_spec.ExecutionParameter(type=str),
        # What in the gates is not as in the profile, in words, for the model card.
        "changed_gates": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),  # the candidate
        # The classifier on whose features distances are measured.
        "judge": component_spec.ChannelParameter(type=standard_artifacts.Model),
        # Transform's, with the splits train, eval and test.
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class Evaluator(base_component.BaseComponent):
    """Node that evaluates one model; see the module's docstring."""

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, **given: Any):
        """Builds the node from the parameters and inputs of ``EvaluatorSpec``."""
        evaluation = channel.Channel(type=standard_artifacts.ModelEvaluation)
        blessing = channel.Channel(type=standard_artifacts.ModelBlessing)
        super().__init__(spec=EvaluatorSpec(evaluation=evaluation, blessing=blessing, **given))
