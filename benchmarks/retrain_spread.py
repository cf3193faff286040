"""Measures how far retraining alone moves every gated metric: the ``retrain_spread`` of the gates.

    python -m benchmarks.retrain_spread --profile quick --seeds 5     2 to 3 hours on two cores

Contract: data and judge are made once, by the pipeline's own nodes; then each model is trained with
n seeds, fine-tuning included, and evaluated with the same judge, test images and sampling seeds:
only the training differs. Metrics of finished seeds are kept in ``--output``, and the same command
resumes. The tolerance is two standard deviations (n - 1 degrees of freedom; five seeds give a
standard deviation to about 35 %), as a share of the mean where the gate is relative. Gates need it:
retraining moves a Fréchet distance 3.2 times as far as resampling does (arXiv 2606.20536).
"""

import dataclasses
import json
import multiprocessing
import shutil
import sys
import time
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import command, tables
from benchmarks.command import mistakes_exit
from components.evaluator.config import Gate
from core.artifacts import METRICS_FILE, SAVED_MODEL_DIR
from core.config import InputError, require
from core.models import MODELS, load
from pipeline.config import RunConfig, load_config
from pipeline.local.workspace import absolute, make_directory
from pipeline.plan import PIPELINE_NAME

DATA_NODES = (
    *("example-gen", "schema", "statistics-gen", "example-validator", "data-gate"),
    *("transform", "judge"),
)


@dataclasses.dataclass(frozen=True)
class Spread:
    """One gated metric over the seeds."""

    mean: float
    deviation: float
    least: float
    most: float
    tolerance: float  # two standard deviations; a share of the mean if the gate is relative


@mistakes_exit("retrain_spread")
def main(arguments: list[str] | None = None) -> int:
    """Trains what is missing and prints the table; returns 2 after a user's mistake."""
    parser = command.parser(__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--seeds", type=int, default=5, help="how many, from the profile's seed on")
    parser.add_argument("--output", default="outputs/retrain_spread", help="folder of the results")
    parser.add_argument("--markdown", help="file to write the table to as well")
    options = parser.parse_args(arguments)
    require(options.seeds >= 2, "A standard deviation needs at least two seeds.")
    folder = Path(options.output).absolute() / options.profile
    config = load_config(options.profile, options.data, options.set)
    config = dataclasses.replace(config, output_dir=str(folder / "data"))
    lines = measure(absolute(config), options.models, options.seeds, folder)
    caption = f"{tables.machine()}; profile {config.profile} {' '.join(options.set)}".rstrip()
    tables.write(options.markdown, caption, lines)
    tables.show(caption, lines, 140)
    return 0


def measure(config: RunConfig, models: Sequence[str], seeds: int, folder: Path) -> list[list[str]]:
    """Trains and evaluates what ``folder`` lacks; returns the lines of the table.

    Raises:
        InputError: ``folder`` holds metrics under other settings, or a model has no gate.
        RuntimeError: A training or an evaluation crashed; the message names its log.
    """
    for model in models:
        require(bool(config.evaluator.gates_of(model)), f"{model} has no gate in this profile.")
    make_directory(folder)
    _keep_settings(config, folder)
    uris = prepare(config)
    lines = [_TITLES]
    for model in models:
        first = config.seed
        figures = [
            figures_of(config, model, seed, uris, folder) for seed in range(first, first + seeds)
        ]
        gates = config.evaluator.gates_of(model)
        lines += [_line(model, gate, spread(gate, figures)) for gate in gates]
    return lines


def prepare(config: RunConfig) -> tuple[str, str]:
    """Directories of the examples and of the judge, made by the pipeline or from its cache."""
    from pipeline.local.runner import run

    result = run(config, build=_data_pipeline)
    if result.failure:
        words = f"{result.failure.node}: {result.failure.message}"
        if result.failure.kind == "input":
            raise InputError(words)
        raise RuntimeError(f"{words}; the log is {result.log}")
    from pipeline.local.metadata import RunMetadata

    database = Path(config.output_dir) / config.profile / "metadata.sqlite"
    metadata = RunMetadata(database, PIPELINE_NAME)
    examples = metadata.output(result.run_id, "transform", "transformed_examples")
    judge = metadata.output(result.run_id, "judge", "model")
    return examples.uri, judge.uri


def figures_of(
    config: RunConfig, model: str, seed: int, uris: tuple[str, str], folder: Path
) -> dict[str, float | None]:
    """Values by metric of one seed: from ``folder``, or by training and evaluating it."""
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
    metrics = json.loads((place / METRICS_FILE).read_text(encoding="utf-8"))
    return {figure["name"]: figure["value"] for figure in metrics["figures"]}


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
    shutil.rmtree(place / "models")


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


def spread(gate: Gate, figures: Sequence[Mapping[str, float | None]]) -> Spread:
    """Mean, standard deviation and tolerance of one metric over the seeds.

    Raises:
        InputError: A seed has no such metric.
    """
    found = [figure.get(gate.metric) for figure in figures]
    require(
        None not in found, f"{gate.metric} was not measured for every seed; remove those seeds."
    )
    values = np.array(found, np.float64)
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    unit = abs(mean) if gate.relative else 1.0
    tolerance = 2 * deviation / unit if unit else float("inf")
    return Spread(mean, deviation, float(values.min()), float(values.max()), tolerance)


_TITLES = ["model", "metric", "mean", "deviation", "least", "most", "for the profile"]


def _line(model: str, gate: Gate, found: Spread) -> list[str]:
    numbers = (found.mean, found.deviation, found.least, found.most)
    ready = f"retrain_spread: {found.tolerance:.2g}" + (", relative: true" if gate.relative else "")
    if gate.retrain_spread is None:
        ready = "(not compared with the champion)"
    return [model, gate.metric, *(f"{number:.4g}" for number in numbers), ready]


def _data_pipeline(config: RunConfig, root: str, connection: Any) -> Any:
    """The pipeline up to the judge."""
    from tfx.orchestration.pipeline import Pipeline

    from pipeline.pipeline import BEAM_ARGS, create_pipeline

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
        beam_pipeline_args=BEAM_ARGS,
    )


def _keep_settings(config: RunConfig, folder: Path) -> None:
    """Writes the settings next to the metrics, or checks that they are the same."""
    settings = dataclasses.asdict(config)
    for key in ("output_dir", "serving_dir"):
        del settings[key]
    settings["evaluator"].pop("gates")  # thresholds do not change a metric
    text = json.dumps(settings, indent=1, sort_keys=True)
    path = folder / "settings.json"
    if path.is_file() and path.read_text(encoding="utf-8") != text:
        raise InputError(
            f"{folder} holds metrics under other settings; name another directory with --output."
        )
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
