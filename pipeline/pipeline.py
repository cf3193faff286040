"""The pipeline, one paragraph per component in the order the data flows.

Contract: ``create_pipeline`` gives the same pipeline to every runner; only paths and the metadata
connection differ. Node ids are valid Argo names. Building it takes a second, importing TFX ten.
"""

import dataclasses
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tfx.components import ExampleValidator, StatisticsGen
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import trainer_pb2

from components.beam_nodes import StatisticsGenExecutor
from components.data_gate.component import DataGate, make_schema
from components.data_gate.content import digests_if_readable
from components.evaluator.component import Evaluator
from components.evaluator.config import EvaluatorConfig
from components.idx_example_gen.component import make_example_gen
from components.pusher.component import Pusher
from components.report.component import Report
from components.serving_check.component import ServingCheck
from components.trainer.component import Trainer
from components.transform.component import make_transform
from core.artifacts import WARM_START
from core.config import require
from core.models import JUDGE, MODELS, Stage
from pipeline.config import RunConfig, changed_gates
from pipeline.fingerprint import stamp_code
from pipeline.plan import PIPELINE_NAME
from pipeline.warm_start import begin as warm_start
from trainer_modules.common.config import FirstStage


def create_pipeline(
    config: RunConfig,
    pipeline_root: str,
    metadata_connection_config: Any | None = None,
    content: Mapping[str, str] = MappingProxyType({}),
) -> Pipeline:
    """Assembles the pipeline.

    Args:
        config: The resolved configuration.
        pipeline_root: Directory of all artifacts.
        metadata_connection_config: MLMD's connection; None where the cluster keeps the metadata.
        content: What the readers of the data directory shall find there, as
            ``components.data_gate.content`` has it. Without it, it is what is there now on this
            machine, and not checked on a cluster.
    """
    nodes: list[Any] = []
    is_local = metadata_connection_config is not None  # it runs now, on the data of now
    if is_local:
        content = content or digests_if_readable(config.data_dir)

    require(is_local or not config.mlflow, "mlflow is for runs on this machine; leave it out here.")

    def add(component: Any, *code: str) -> Any:
        """Makes the component a node, with its code and that of ``code`` in its cache key."""
        nodes.append(stamp_code(component, *code))
        return component

    # Examples: train and eval from the file of 60,000, test from that of 10,000.
    example_gen = add(
        make_example_gen(config.data_dir, config.data, content.get("example-gen", ""))
    )
    examples = example_gen.outputs["examples"]

    # The schema, and statistics of known good data; both from the data directory.
    schema_node = add(make_schema(config.data_dir, content.get("schema", "")))
    schema = schema_node.outputs["schema"]

    # Statistics of every column of every split; the schema says that labels are categories.
    statistics_gen = StatisticsGen(examples=examples, schema=schema).with_id("statistics-gen")
    statistics_gen.executor_spec = BeamExecutorSpec(StatisticsGenExecutor)
    add(statistics_gen)
    statistics = statistics_gen.outputs["statistics"]

    # Anomalies against the schema. ExampleValidator only records them.
    validator = add(
        ExampleValidator(statistics=statistics, schema=schema).with_id("example-validator")
    )

    # The gate ends the run if the data is faulty.
    data_gate = add(
        DataGate(
            statistics=statistics,
            schema=schema,
            baseline=schema_node.outputs["baseline"],
            example_anomalies=validator.outputs["anomalies"],
            examples=examples,
            max_images=config.data.max_images or 0,
            allow=",".join(config.data.allow),
        ).with_id("data-gate")
    )

    # Images as float32 in [0, 1], with full-pass statistics of the train split. Reads nothing
    # from the gate but must not start before it has passed.
    transform = add(
        make_transform(examples=examples, schema=schema), "components.transform.preprocessing"
    )
    transform.add_upstream_node(data_gate)
    digits = transform.outputs["transformed_examples"]

    def train(
        stage: Stage, base_model: Any | None = None, begin: Mapping[str, Any] | None = None
    ) -> Any:
        """A Trainer with its function as an import path, as clusters need it."""
        settings = dataclasses.asdict(getattr(config, stage.settings))
        custom_config: dict[str, Any] = {"config": settings}
        if begin:
            custom_config[WARM_START] = begin
        if is_local:
            # TFX gives a repeated execution a new directory, so a killed training looks for its
            # state here. On a cluster a repeated pod starts with an empty disk.
            custom_config["checkpoint"] = f"{pipeline_root}/checkpoints/{stage.node_id}"
        trainer = Trainer(
            examples=digits,
            base_model=base_model,
            run_fn=stage.entry,
            train_args=trainer_pb2.TrainArgs(splits=["train"]),
            eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
            custom_config=custom_config,
        ).with_id(stage.node_id)
        return add(trainer, stage.entry.rpartition(".")[0]).outputs["model"]

    # The judge classifies; the other models are scored with its features.
    judge = train(JUDGE)

    report_inputs: dict[str, Any] = {}
    for kind in MODELS.values():
        # The model, and then its last layers again if it has a second stage.
        begin, settings = None, getattr(config, kind.stages[0].settings)
        if isinstance(settings, FirstStage) and settings.warm_start:
            require(is_local, "warm_start is for runs on this machine; set it to false here.")
            begin = warm_start(config.serving_dir, kind.name, content["example-gen"])
        base, model = None, train(kind.stages[0], begin=begin)
        for stage in kind.stages[1:]:
            base, model = model, train(stage, base_model=model)

        # Compared with the champion in serving; the gates approve the model or not.
        evaluator = add(
            Evaluator(
                model_name=kind.name,
                model=model,
                judge=judge,
                examples=digits,
                serving_dir=config.serving_dir,
                changed_gates=changed_gates(config, kind.name),
                config=json.dumps(_evaluator_settings(config.evaluator, kind.name), sort_keys=True),
            ).with_id(kind.evaluator),
            *kind.measurement_modules,
        )

        # Queried on a real model server.
        check = add(
            ServingCheck(
                model=model, examples=digits, model_name=kind.name, config=config.serving_check
            ).with_id(kind.serving_check),
            "serving.model_server.__main__",
        )

        # Pushed if both approve it.
        pusher = add(
            Pusher(
                model_name=kind.name,
                model=model,
                model_blessing=evaluator.outputs["blessing"],
                infra_blessing=check.outputs["blessing"],
                evaluation=evaluator.outputs["evaluation"],
                serving_dir=config.serving_dir,
                base_model=base,
                statistics=statistics,
                data_dir=config.data_dir,
            ).with_id(kind.pusher),
            kind.words.rpartition(".")[0],
        )

        report_inputs |= {
            f"{kind.name}_model": model,
            f"{kind.name}_evaluation": evaluator.outputs["evaluation"],
            f"{kind.name}_blessing": evaluator.outputs["blessing"],
            f"{kind.name}_infra_blessing": check.outputs["blessing"],
            f"{kind.name}_pushed_model": pusher.outputs["pushed_model"],
        }
        if base is not None:
            report_inputs[f"{kind.name}_base_model"] = base

    # One HTML page with all results, approved or not, wherever its directory is moved.
    apart = ("output_dir", "mlflow")  # change nothing that is computed
    settings = {k: value for k, value in dataclasses.asdict(config).items() if k not in apart}
    add(
        Report(
            config=json.dumps(settings, sort_keys=True),
            judge=judge,
            statistics=statistics,
            findings=data_gate.outputs["findings"],
            **report_inputs,
        ).with_id("report"),
        *(kind.words.rpartition(".")[0] for kind in MODELS.values()),
    )

    return Pipeline(
        pipeline_name=PIPELINE_NAME,
        pipeline_root=pipeline_root,
        components=nodes,
        enable_cache=True,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=list(config.beam_args),
    )


def _evaluator_settings(config: EvaluatorConfig, model: str) -> dict[str, Any]:
    """Settings with the gates of ``model`` only, so that others do not break its cache."""
    gates = {model: config.gates_of(model)}
    return dataclasses.asdict(dataclasses.replace(config, gates=gates))
