"""Evaluator: the TFX node that measures one model and blesses it or not.

Contract: one class, three nodes. Inputs ``model``, ``judge`` (Model) and ``examples`` (from
Transform); outputs ``evaluation`` (metrics.json and figures) and ``blessing`` (a file, and the
custom properties ``blessed``, ``current_model``, ``reason``). Standard artifact types and string
parameters only, so the same node runs on both runners.
"""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel, component_spec, standard_artifacts

from components.evaluator.executor import Executor


class EvaluatorSpec(component_spec.ComponentSpec):
    """Parameters are strings; ``config`` is an ``EvaluatorConfig`` as JSON."""

    PARAMETERS = {
        "model_name": component_spec.ExecutionParameter(type=str),
        "config": component_spec.ExecutionParameter(type=str),
        "serving_dir": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "judge": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class Evaluator(base_component.BaseComponent):
    """Node that judges one model; see the module's docstring."""

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        judge: types.BaseChannel,
        examples: types.BaseChannel,
        model_name: str,
        config: str,
        serving_dir: str,
    ):
        """Builds the node.

        Args:
            model: The candidate, one Model artifact.
            judge: The classifier whose features the distances are measured on.
            examples: Transform's examples with splits train and test.
            model_name: A name of the table of models.
            config: JSON of an ``EvaluatorConfig``.
            serving_dir: Models in serving, ``<serving_dir>/<model_name>/<version>``; the newest
                version is the champion.
        """
        super().__init__(
            spec=EvaluatorSpec(
                model=model,
                judge=judge,
                examples=examples,
                model_name=model_name,
                config=config,
                serving_dir=serving_dir,
                evaluation=channel.Channel(type=standard_artifacts.ModelEvaluation),
                blessing=channel.Channel(type=standard_artifacts.ModelBlessing),
            )
        )
