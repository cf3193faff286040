"""Compares Inkwell's models with published examples at equal training time.

    python -m benchmarks.quality --output DIR                 about 45 minutes a seed on two cores

Contract: each seed trains judge, autoencoder, diffusion model and GAN with the profile's settings,
then each plain model of ``benchmarks.baselines`` for as many seconds as ours took, and measures all
on the test images under that seed's judge (``benchmarks.train_models``). The plain models train in
a process of their own, where an operation has all processors: they do not take batches in halves,
as ours do, and would leave half of the processors idle. Metrics of finished seeds are kept in
``--output``, and the same command resumes. Image grids are the first 64 images of a seed, none left
out; ``samples-plain.png`` has those of the first seed, ours next to the plain ones.
"""

import concurrent.futures
import dataclasses
import functools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.processors import THREADS_OF_ONE, use_processors

if __name__ == "__main__":
    use_processors()  # before TensorFlow is imported below

from benchmarks import baselines, command, pictures, tables
from benchmarks.command import mistakes_exit
from benchmarks.splits import Splits, read_splits
from benchmarks.train_models import (
    GRAPH,
    SIGMA,
    Draw,
    Work,
    cluster_figures,
    measure_sampler,
    references_of,
    train_judge,
    train_judged,
)
from benchmarks.train_speed import caption, product_gflops
from components.evaluator.metrics.agreement import agreement
from components.evaluator.metrics.denoising import add_noise
from components.evaluator.metrics.reconstruction import psnr, squared_error, ssim
from core.artifacts import KERAS_DIR
from core.config import require
from core.models import STAGES
from pipeline.config import RunConfig, load_config
from trainer_modules.common.keras_files import load_network, save_grid, save_network

_STAGES = tuple(stage.settings for stage in STAGES)
Seconds = Mapping[tuple[str, str], float]  # of our works, by model and name
CAE, N2D, DENOISER = "convolutional autoencoder", "N2D", "convolutional denoiser"


@dataclasses.dataclass(frozen=True)
class Row:
    """One metric: its work, its targets, and the plain model that it is compared with."""

    model: str
    work: str
    metric: str
    lower: bool  # whether lower is better
    quick: float | None  # what the profile should reach
    full: float | None
    plain: str | None = None  # the plain model


ROWS = (
    Row("judge", "train", "accuracy", False, 0.993, 0.996),
    Row("autoencoder", "finetune", "MSE", True, 0.0091, None, CAE),
    Row("autoencoder", "finetune", "K-Means accuracy", False, 0.90, 0.97, CAE),
    Row("autoencoder", "finetune", "NMI", False, 0.85, 0.92, CAE),
    Row("autoencoder", "finetune", f"K-Means accuracy{GRAPH}", False, None, None, N2D),
    Row("autoencoder", "finetune", f"NMI{GRAPH}", False, None, None, N2D),
    Row("autoencoder", "finetune", "MSE saved by fine-tuning", False, None, None),
    Row("autoencoder", "finetune", "MSE saved by fine-tuning, lower end", False, 0.0, 0.0),
    Row("diffusion", "generate", "FD / floor", True, 2.0, 1.1, "DDIM"),
    Row("diffusion", "generate", "Inception Score", False, None, None, "DDIM"),
    Row("diffusion", "finetune", "PSNR in dB", False, 22.0, 22.0, DENOISER),
    Row("diffusion", "finetune", "SSIM", False, 0.92, 0.92, DENOISER),
    Row("diffusion", "finetune", "dB gained by fine-tuning", False, None, None),
    Row("diffusion", "finetune", "dB gained by fine-tuning, lower end", False, 0.0, 0.0),
    Row("gan", "generate", "FD / floor", True, 2.0, 1.2, "DCGAN"),
    Row("gan", "generate", "Inception Score", False, 9.3, None, "DCGAN"),
)
_SAMPLES = {"GAN": "gan", "DCGAN": "DCGAN", "diffusion model": "diffusion", "DDIM": "DDIM"}
_TITLES = ["model", "metric", "target", "ours", "plain", "seconds, ours", "seconds, plain"]


@mistakes_exit("quality")
def main(arguments: list[str] | None = None) -> int:
    """Trains what is missing and prints the table; returns 2 after a user's mistake."""
    parser = command.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from the profile's seed on")
    parser.add_argument("--output", required=True, help="folder of metrics, table and images")
    options = parser.parse_args(arguments)
    folder = Path(options.output)
    require(options.seeds >= 1, "--seeds must be at least 1.")
    config = load_config(options.profile, options.data, options.set)
    splits = read_splits(config.data_dir, config.data.max_images)
    first = config.seed
    found = [of_seed(config, seed, splits, folder) for seed in range(first, first + options.seeds)]
    lines = rows(found, options.profile)
    words = f"{caption(product_gflops())}; profile {options.profile} {' '.join(options.set)}"
    tables.write(folder / "table.md", words, lines)
    samples = {title: folder / f"seed-{first}" / f"{name}.png" for title, name in _SAMPLES.items()}
    pictures.row(samples).convert("L").save(folder / "samples-plain.png", optimize=True)
    tables.show(words, lines, 140)
    return 0


def of_seed(config: RunConfig, seed: int, splits: Splits, folder: Path) -> list[Work]:
    """All trainings and samples of one seed: from ``folder``, or made now.

    Raises:
        InputError: ``folder`` holds that seed under other settings.
    """
    stages = {stage: dataclasses.replace(getattr(config, stage), seed=seed) for stage in _STAGES}
    config = dataclasses.replace(config, **stages)
    settings = dataclasses.asdict(config)
    settings = {key: settings[key] for key in (*_STAGES, "data")}
    path = folder / f"seed-{seed}" / "figures.json"
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        same = kept["settings"] == json.loads(json.dumps(settings))
        require(same, f"{path} has other settings; name another folder with --output.")
        return [Work(**work) for work in kept["works"]]
    path.parent.mkdir(parents=True, exist_ok=True)
    ours = list(_told(seed, _train(config, splits, path.parent)))
    seconds = {(work.model, work.name): work.seconds for work in ours}
    works = ours + with_all_threads(_plain, config, seed, path.parent, seconds)
    kept = {"settings": settings, "works": [dataclasses.asdict(work) for work in works]}
    path.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    return works


def _told(seed: int, works: Iterable[Work]) -> Iterator[Work]:
    """Yields them, and says of each that it is done."""
    for work in works:
        print(f"seed {seed}, {work.model}, {work.name}: {work.seconds:.0f} s", file=sys.stderr)
        yield work


def _train(config: RunConfig, splits: Splits, folder: Path) -> Iterator[Work]:
    """Yields our works; the judge stays in ``folder``."""
    judge, references, work = train_judge(config, splits, splits.test)
    save_network(judge, folder, "judge")
    yield work
    yield from train_judged(config, splits, references, folder)


def with_all_threads(call: Callable[..., Any], *arguments: Any) -> Any:
    """``call(*arguments)`` in a process of its own, where an operation has all processors."""
    threads = os.environ.pop(THREADS_OF_ONE, None)  # TensorFlow of this process has read it
    try:
        spawn = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool:
            return pool.submit(call, *arguments).result()
    finally:
        os.environ.update({} if threads is None else {THREADS_OF_ONE: threads})


def _plain(config: RunConfig, seed: int, folder: Path, seconds: Seconds) -> list[Work]:
    """The works of the plain models."""
    return list(_told(seed, _train_plain(config, seed, folder, seconds)))


def _train_plain(config: RunConfig, seed: int, folder: Path, seconds: Seconds) -> Iterator[Work]:
    """Yields them, measured under the judge in ``folder``; each gets as many seconds as ours."""
    splits = read_splits(config.data_dir, config.data.max_images)
    judge = load_network(folder / KERAS_DIR, "judge")
    references = references_of(judge, config, splits, splits.test)
    train, mean, std = splits.train, splits.train.pixel_mean, splits.train.pixel_std
    budget = seconds["gan", "train"]
    generator = baselines.train_dcgan(train, budget, seed)
    yield Work("DCGAN", "train", {}, budget, 0, 0)
    draw: Draw = functools.partial(baselines.draw_dcgan, generator)
    yield measure_sampler(references, "DCGAN", "generate", 0, draw, folder)

    budget, steps = seconds["diffusion", "train"], config.evaluator.generate_steps
    network = baselines.train_ddim(train, splits.held_out, budget, seed)
    yield Work("DDIM", "train", {}, budget, 0, 0)
    draw = functools.partial(baselines.draw_ddim, baselines.Ddim(network, steps, mean, std))
    yield measure_sampler(references, "DDIM", "generate", 0, draw, folder)

    budget += seconds["diffusion", "finetune"]
    denoiser = baselines.train_denoiser(train, SIGMA, budget, seed)
    clean = splits.test.images[: config.evaluator.denoising_images]
    noisy = add_noise(clean, SIGMA, config.evaluator.seed)
    denoised = denoiser.predict(noisy, batch_size=500, verbose=0)
    save_grid(denoised[:64], folder / "convolutional-denoiser.png")
    figures = {
        "PSNR in dB": float(psnr(clean, denoised).mean()),
        "SSIM": float(ssim(clean, denoised).mean()),
    }
    yield Work(DENOISER, "train", figures, budget, 0, 0)

    budget = seconds["autoencoder", "train"] + seconds["autoencoder", "finetune"]
    encoder, decoder = baselines.train_autoencoder(
        train, config.autoencoder.code_size, budget, seed
    )
    code = encoder.predict(splits.test.images, batch_size=500, verbose=0)
    drawn = np.clip(decoder.predict(code, batch_size=500, verbose=0), 0, 1)
    save_grid(drawn[:64], folder / "convolutional-autoencoder.png")
    figures = {"MSE": float(squared_error(splits.test.images, drawn).mean())}
    figures |= cluster_figures(references, code)
    yield Work(CAE, "train", figures, budget, 0, 0)

    begun, evaluator = time.perf_counter(), config.evaluator
    found = baselines.n2d(
        code, evaluator.tsne_perplexity, references.clusters, evaluator.kmeans_seeds, seed
    )
    scores = [agreement(labels, splits.test.labels) for labels in found]
    figures = {
        f"K-Means accuracy{GRAPH}": float(np.mean([score.accuracy for score in scores])),
        f"NMI{GRAPH}": float(np.mean([score.nmi for score in scores])),
    }
    yield Work(N2D, "train", figures, budget + time.perf_counter() - begun, 0, 0)


def rows(found: Sequence[Sequence[Work]], profile: str) -> list[list[str]]:
    """The table's lines; metrics as mean and standard deviation over the seeds in ``found``."""
    lines = [_TITLES]
    for row in ROWS:
        target = {"quick": row.quick, "full": row.full}.get(profile)
        sign = "≤" if row.lower else "≥"
        words = "" if target is None else f"{sign} {target:g}"
        value, plain, seconds = _value(found, row.model, row.metric, row.work), "", ""
        if row.plain:
            plain = f"{row.plain} {_value(found, row.plain, row.metric)}"
            seconds = _seconds(found, row.plain)
        lines.append(
            [row.model, row.metric, words, value, plain, _seconds(found, row.model), seconds]
        )
    return lines


def _value(found: Sequence[Sequence[Work]], model: str, metric: str, work: str = "") -> str:
    """Mean and deviation over the seeds; ``work`` says which, where several have the metric."""
    values = [
        one.figures[metric]
        for works in found
        for one in works
        if one.model == model and metric in one.figures and one.name.startswith(work)
    ]
    deviation = f" ± {np.std(values, ddof=1):.2g}" if len(values) > 1 else ""
    return f"{np.mean(values):.4g}{deviation}"


def _seconds(found: Sequence[Sequence[Work]], model: str) -> str:
    """Seconds of training, fine-tuning included; sampling apart."""
    spent = {True: 0.0, False: 0.0}  # by whether images were sampled
    for one in (one for works in found for one in works if one.model == model):
        spent[one.name.startswith("generate")] += one.seconds / len(found)
    return f"{spent[False]:.0f}" + (f" + {spent[True]:.0f} to sample" if spent[True] else "")


if __name__ == "__main__":
    sys.exit(main())
