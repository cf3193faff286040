"""Trains every model with several seeds on the same data, and evaluates each alike.

Contract: data and judge are made once, by the pipeline's own nodes; then each model is trained with
n seeds, fine-tuning included, and evaluated with the same judge, test images and sampling seeds:
only the training differs. The evaluation of a finished seed is kept, and the same command resumes.
"""

import dataclasses
import json
import multiprocessing
import shutil
import sys
import time
import types
from pathlib import Path
from typing import Any

from core.artifacts import METRICS_FILE, SAVED_MODEL_DIR
from core.config import InputError
from core.models import MODELS, load
from pipeline.config import RunConfig
from pipeline.local.database import DATABASE
from pipeline.local.workspace import make_directory
from pipeline.plan import PIPELINE_NAME

DATA_NODES = (
    *("example-gen", "schema", "statistics-gen", "example-validator", "data-gate"),
    *("transform", "judge"),
)


def prepare(config: RunConfig, folder: Path) -> tuple[str, str]:
    """Directories of the examples and of the judge, made by the pipeline or from its cache.

    Raises:
        InputError: ``folder`` holds evaluations under other settings, or the data is faulty.
        RuntimeError: A node crashed; the message names its log.
    """
    make_directory(folder)
    _keep_settings(config, folder)
    from pipeline.local.runner import run

    result = run(config, build=_data_pipeline)
    if result.failure:
        words = f"{result.failure.node}: {result.failure.message}"
        if result.failure.kind == "input":
            raise InputError(words)
        raise RuntimeError(f"{words}; the log is {result.log}")
    from pipeline.local.metadata import RunMetadata

    database = Path(config.output_dir) / config.profile / DATABASE
    metadata = RunMetadata(database, PIPELINE_NAME)
    examples = metadata.output(result.run_id, "transform", "transformed_examples")
    judge = metadata.output(result.run_id, "judge", "model")
    return str(metadata.directory(examples)), str(metadata.directory(judge))


def figures_of(
    config: RunConfig, model: str, seed: int, uris: tuple[str, str], folder: Path
) -> list[dict[str, Any]]:
    """The metrics of one seed, as metrics.json has them: from ``folder``, or by training it.

    Raises:
        RuntimeError: A training or an evaluation crashed; the message names its log.
    """
    place = folder / model / f"seed-{seed}"
    if not (place / METRICS_FILE).is_file():
        started = time.monotonic()
        process = multiprocessing.get_context("spawn").Process(
            target=train_and_evaluate, args=(config, model, seed, uris, place)
        )
        process.start()  # one of its own: TensorFlow keeps memory and random state
        process.join()
        if process.exitcode != 0:
            raise RuntimeError(f"{model}, seed {seed} failed; the log is {place / 'log'}")
        seconds = time.monotonic() - started
        print(f"{model}, seed {seed}: {seconds:.0f} s", file=sys.stderr, flush=True)
    return json.loads((place / METRICS_FILE).read_text(encoding="utf-8"))["figures"]


def model_of(model: str, seed: int, folder: Path) -> Path:
    """Directory of the trained SavedModel of one seed."""
    last = MODELS[model].stages[-1].settings
    return folder / model / f"seed-{seed}" / "models" / last / SAVED_MODEL_DIR


def train_and_evaluate(
    config: RunConfig, model: str, seed: int, uris: tuple[str, str], place: Path
) -> None:
    """The body of the process of one seed; metrics.json is written last."""
    from pipeline.environment import set_environment
    from pipeline.terminal.quiet import output_to

    shutil.rmtree(place, ignore_errors=True)  # of a process that was stopped
    set_environment()
    with output_to(place / "log"):
        trained = train(config, model, seed, uris[0], place / "models")
        from components.evaluator.run import evaluate

        evaluate(model, str(trained), uris[1], uris[0], None, config.evaluator, str(place))


def train(config: RunConfig, model: str, seed: int, examples_uri: str, folder: Path) -> Path:
    """Trains all stages of ``model`` as TFX's Trainer would; directory of the last one's model."""
    base = None
    for stage in MODELS[model].stages:
        settings = {**dataclasses.asdict(getattr(config, stage.settings)), "seed": seed}
        arguments = types.SimpleNamespace(
            train_files=[f"{examples_uri}/Split-train/*"],
            eval_files=[f"{examples_uri}/Split-eval/*"],
            serving_model_dir=str(folder / stage.settings / SAVED_MODEL_DIR),
            model_run_dir=str(folder / stage.settings / "logs"),
            base_model=base,
            custom_config={"config": settings},
        )
        load(stage.entry)(arguments)
        base = arguments.serving_model_dir
    return Path(base).parent


def _data_pipeline(config: RunConfig, root: str, connection: Any) -> Any:
    """The pipeline up to the judge."""
    from tfx.orchestration.pipeline import Pipeline

    from pipeline.pipeline import create_pipeline

    whole = create_pipeline(config, root, connection)
    kept = [node for node in whole.components if node.id in DATA_NODES]
    for node in kept:
        node.downstream_nodes.intersection_update(kept)  # TFX refuses names of missing nodes
    return Pipeline(
        pipeline_name=PIPELINE_NAME,
        pipeline_root=root,
        components=kept,
        enable_cache=True,
        metadata_connection_config=connection,
        beam_pipeline_args=list(config.beam_args),
    )


def _keep_settings(config: RunConfig, folder: Path) -> None:
    """Writes the settings next to the evaluations, or checks that they are the same."""
    settings = dataclasses.asdict(config)
    for key in ("output_dir", "serving_dir", "beam_args"):
        del settings[key]
    settings["evaluator"].pop("gates")  # thresholds do not change a metric
    text = json.dumps(settings, indent=1, sort_keys=True)
    path = folder / "settings.json"
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise InputError(
            f"{folder} holds evaluations under other settings; name another directory with "
            "--output."
        )
    path.write_text(text, encoding="utf-8")
