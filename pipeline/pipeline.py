"""The pipeline, one paragraph per component in the order the data flows.

Contract: ``create_pipeline`` gives the same pipeline to every runner; only paths and the metadata
connection differ. Node ids are valid Argo names. Building it takes a second, importing TFX ten.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from tfx.components import ExampleValidator, StatisticsGen, Trainer
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import trainer_pb2

from components.data_gate.component import make_data_gate, make_schema
from components.evaluator.component import Evaluator
from components.evaluator.config import EvaluatorConfig, Gates
from components.idx_example_gen.component import make_example_gen
from components.pusher.component import Pusher
from components.report.component import Report
from components.serving_check.component import ServingCheck
from components.transform.component import make_transform
from pipeline.config import RunConfig
from pipeline.fingerprint import stamp_code
from pipeline.plan import PIPELINE_NAME

BEAM_ARGS = [
    "--runner=FnApiRunner",  # DirectRunner would download a Go program at run time
    "--direct_num_workers=1",  # two processes were 1.7 times slower at this size
    "--sdk_container_image=unused",  # else TFX packs itself into /tmp for each Beam node, 1.5 s
]


def create_pipeline(
    config: RunConfig, pipeline_root: str, metadata_connection_config: Any | None = None
) -> Pipeline:
    """Assembles the pipeline.

    Args:
        config: The resolved configuration.
        pipeline_root: Directory of all artifacts.
        metadata_connection_config: MLMD's connection; None where the cluster keeps the metadata.
    """
    # Examples: train and eval from the file of 60,000, test from that of 10,000.
    example_gen = make_example_gen(config.data_dir, config.data)
    stamp_code(example_gen)
    examples = example_gen.outputs["examples"]

    # What the data must be, and statistics of known good data; both from the data directory.
    schema_node = make_schema(config.data_dir)
    stamp_code(schema_node)
    schema = schema_node.outputs["schema"]

    # Statistics of every column of every split; the schema says that labels are categories.
    statistics_gen = StatisticsGen(examples=examples, schema=schema).with_id("statistics-gen")
    statistics = statistics_gen.outputs["statistics"]

    # Anomalies against the schema. ExampleValidator only records them.
    validator = ExampleValidator(statistics=statistics, schema=schema).with_id("example-validator")

    # The gate ends the run if the data is not what it should be.
    data_gate = make_data_gate(
        statistics=statistics,
        schema=schema,
        baseline=schema_node.outputs["baseline"],
        example_anomalies=validator.outputs["anomalies"],
        max_images=config.data.max_images,
    )
    stamp_code(data_gate)

    # Images as float32 in [0, 1], with full-pass statistics of the train split. Reads nothing
    # from the gate but must not start before it has passed.
    transform = make_transform(examples=examples, schema=schema)
    stamp_code(transform, "components.transform.preprocessing").add_upstream_node(data_gate)
    digits = transform.outputs["transformed_examples"]

    def train(node_id: str, entry: str, settings: Any, base_model: Any | None = None) -> Trainer:
        """A Trainer whose function is baked in by import path, as clusters need it."""
        custom_config: dict[str, Any] = {"config": dataclasses.asdict(settings)}
        if metadata_connection_config is not None:
            # TFX gives a repeated execution a new directory, so a killed training looks for its
            # state here. On a cluster a repeated pod starts with an empty disk.
            custom_config["checkpoint"] = f"{pipeline_root}/checkpoints/{node_id}"
        trainer = Trainer(
            examples=digits,
            transform_graph=transform.outputs["transform_graph"],
            base_model=base_model,
            run_fn=entry,
            train_args=trainer_pb2.TrainArgs(splits=["train"]),
            eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
            custom_config=custom_config,
        ).with_id(node_id)
        return stamp_code(trainer, entry.rpartition(".")[0])

    # The judge classifies; every score of the other models is measured with its features.
    judge = train("judge", "trainer_modules.judge.train.run_fn", config.judge)

    # The autoencoder, then its final layers once more.
    autoencoder = train(
        "autoencoder", "trainer_modules.autoencoder.train.run_fn", config.autoencoder
    )
    finetune_ae = train(
        "finetune-ae",
        "trainer_modules.autoencoder.train.finetune_fn",
        config.finetune_autoencoder,
        base_model=autoencoder.outputs["model"],
    )

    # The diffusion model, then a copy's last layers for denoising.
    diffusion = train("diffusion", "trainer_modules.diffusion.train.run_fn", config.diffusion)
    finetune_diffusion = train(
        "finetune-diffusion",
        "trainer_modules.diffusion.train.finetune_fn",
        config.finetune_diffusion,
        base_model=diffusion.outputs["model"],
    )

    # The GAN has no second training.
    gan = train("gan", "trainer_modules.gan.train.run_fn", config.gan)

    # Each candidate is evaluated beside the champion now in serving, queried on a real model
    # server, and pushed if both bless it.
    gated: list[Any] = []
    report_inputs: dict[str, Any] = {}
    for name, short, candidate, base in (
        ("autoencoder", "ae", finetune_ae, autoencoder),
        ("diffusion", "diffusion", finetune_diffusion, diffusion),
        ("gan", "gan", gan, None),
    ):
        model = candidate.outputs["model"]
        evaluator = Evaluator(
            model_name=name,
            model=model,
            judge=judge.outputs["model"],
            examples=digits,
            serving_dir=config.serving_dir,
            config=json.dumps(_evaluator_settings(config.evaluator, name), sort_keys=True),
        ).with_id(f"evaluate-{short}")
        stamp_code(evaluator)

        check = ServingCheck(
            model=model, examples=digits, model_name=name, config=config.serving_check
        ).with_id(f"serving-check-{short}")
        stamp_code(check, "serving.model_server.__main__")

        pusher = Pusher(
            model_name=name,
            model=model,
            model_blessing=evaluator.outputs["blessing"],
            infra_blessing=check.outputs["blessing"],
            evaluation=evaluator.outputs["evaluation"],
            serving_dir=config.serving_dir,
            base_model=base.outputs["model"] if base else None,
            statistics=statistics,
            data_dir=config.data_dir,
        ).with_id(f"push-{short}")
        stamp_code(pusher)

        gated += [evaluator, check, pusher]
        report_inputs |= {
            f"{name}_model": model,
            f"{name}_evaluation": evaluator.outputs["evaluation"],
            f"{name}_blessing": evaluator.outputs["blessing"],
            f"{name}_infra_blessing": check.outputs["blessing"],
            f"{name}_pushed_model": pusher.outputs["pushed_model"],
        }
        if base is not None:
            report_inputs[f"{name}_base_model"] = base.outputs["model"]

    # One HTML page with everything, whatever the gates said.
    report = Report(
        config=json.dumps(dataclasses.asdict(config), sort_keys=True),
        judge=judge.outputs["model"],
        statistics=statistics,
        findings=data_gate.outputs["findings"],
        **report_inputs,
    ).with_id("report")
    stamp_code(report)

    return Pipeline(
        pipeline_name=PIPELINE_NAME,
        pipeline_root=pipeline_root,
        components=[
            *(example_gen, schema_node, statistics_gen, validator, data_gate, transform),
            *(judge, autoencoder, finetune_ae, diffusion, finetune_diffusion, gan),
            *gated,
            report,
        ],
        enable_cache=True,
        metadata_connection_config=metadata_connection_config,
        beam_pipeline_args=BEAM_ARGS,
    )


def _evaluator_settings(config: EvaluatorConfig, model: str) -> dict[str, Any]:
    """Settings with the gates of ``model`` alone: a gate of another model is not its business."""
    gates = Gates(**{model: config.gates_of(model)})
    return dataclasses.asdict(dataclasses.replace(config, gates=gates))
