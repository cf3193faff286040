"""Measures the speed of training steps and samplers, on any Keras backend.

    python -m benchmarks.train_speed --markdown speed.md                         two minutes or so
    KERAS_BACKEND=jax python -m benchmarks.train_speed

Contract: images per second are those of a warm trainer in its own loop, from the end of one step to
the end of a later one; operations are counted from the layers (``benchmarks.flops``), and their
share is of the float32 matrix product that the same backend reaches in the same run. "data / fixed"
is the speed with real digits, through the trainer's own input path, over that with one batch that
is already in memory: below 0.95, the training waits for data. Real and fixed alternate, and each
value is a median over the turns, so that other work on the machine has little effect.
"""

import concurrent.futures
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from core.processors import AT_A_TIME, use_processors

if __name__ == "__main__":
    use_processors()  # before TensorFlow is imported below

import keras
import numpy as np

from benchmarks import command, tables
from benchmarks.command import mistakes_exit
from benchmarks.flops import (
    autoencoder_flops,
    forward_flops,
    gan_draw_flops,
    gan_flops,
    step_flops,
)
from benchmarks.splits import Splits, first_images, read_splits
from core.config import require
from core.digits import Digits
from pipeline.config import RunConfig, load_config
from trainer_modules.autoencoder import train as autoencoder
from trainer_modules.common.steps import compiled
from trainer_modules.common.trained import Hooks
from trainer_modules.diffusion import train as diffusion
from trainer_modules.diffusion.sampler import Sampler
from trainer_modules.gan import train as gan
from trainer_modules.gan.sampler import Sampler as GanSampler
from trainer_modules.judge import train as judge

MODELS = ("judge", "autoencoder", "diffusion", "gan")
SAMPLE_STEPS = 20  # network calls per image of the diffusion model
_SAMPLES = 256  # images per call of a sampler
_TURNS = 5
_WARM_STEPS = 41  # enough for the GAN too, which reports every 20th step
_SIDE = 2048  # rows and columns of the matrices
_TITLES = ["model", "work", "batch", "MFLOP / image", "images / s", "GFLOP / s", "share of product"]


@dataclasses.dataclass(frozen=True)
class Speed:
    """One kind of work: ``ratio`` is the speed with real data over that with a fixed batch."""

    model: str
    work: str
    batch: int
    flops: int  # per image
    images_per_second: float
    ratio: float | None = None

    @property
    def gflops(self) -> float:
        """10^9 operations per second."""
        return self.flops * self.images_per_second / 1e9


@dataclasses.dataclass(frozen=True)
class Loop:
    """A warm trainer: both functions take a number of steps and return the seconds per step."""

    batch: int
    flops: int  # per image
    real: Callable[[int], float]
    fixed: Callable[[int], float]


@mistakes_exit("train_speed")
def main(arguments: list[str] | None = None) -> int:
    """Measures the chosen models and prints the table; returns 2 after a user's mistake."""
    parser = command.parser(__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds per line of the table")
    parser.add_argument("--markdown", help="file to write the table to as well")
    options = parser.parse_args(arguments)
    config = load_config(options.profile, options.data, options.set)
    splits = read_splits(config.data_dir, config.data.max_images)
    peak = product_gflops()
    speeds = []
    for name in options.models:
        speeds += measure(name, config, splits, options.seconds)
        print(f"{name} measured", file=sys.stderr, flush=True)
    text, lines = caption(peak), rows(speeds, peak)
    tables.write(options.markdown, text, lines)
    tables.show(text, lines)
    return 0


def measure(name: str, config: RunConfig, splits: Splits, seconds: float) -> list[Speed]:
    """The training step of one model, and its sampler if it generates images."""
    training, network = start(name, config, splits)
    found = [train_speed(name, training, splits.train, seconds)]
    if name == "diffusion":
        mean, std = splits.train.pixel_mean, splits.train.pixel_std
        generator = diffusion.generator_of(network, config.diffusion, splits.train)
        sampler: Any = Sampler(generator, SAMPLE_STEPS, mean, std)
        flops, work = SAMPLE_STEPS * forward_flops(generator), f"generate, {SAMPLE_STEPS} steps"
    elif name == "gan":
        sampler = network
        flops, work = gan_draw_flops(sampler.generator, sampler.discriminator), "generate"
    else:
        return found
    taken = call_seconds(lambda i: sampler.predict_on_batch(sampler.noise(_SAMPLES, i)), seconds)
    return [*found, Speed(name, work, _SAMPLES, flops, _SAMPLES / taken)]


def train_speed(name: str, loop: Loop, train: Digits, seconds: float) -> Speed:
    """Real data and a fixed batch in turns, for about ``seconds`` in all."""
    most = len(train.images) // loop.batch
    require(
        most >= _WARM_STEPS,
        f"The train split holds {len(train.images)} images, but {_WARM_STEPS} batches of "
        f"{loop.batch} are needed to time the {name}; give more images, or lower batch_size.",
    )
    guess, _ = loop.real(_WARM_STEPS), loop.fixed(_WARM_STEPS)
    steps = min(most, max(_WARM_STEPS, round(seconds / (2 * _TURNS * guess))))
    turns = np.array([(loop.real(steps), loop.fixed(steps)) for _ in range(_TURNS)])
    speed = loop.batch / float(np.median(turns[:, 0]))
    ratio = float(np.median(turns[:, 1] / turns[:, 0]))
    return Speed(name, "train step", loop.batch, loop.flops, speed, ratio)


def start(name: str, config: RunConfig, splits: Splits) -> tuple[Loop, keras.Model]:
    """Trains the model ``name`` for a few steps; returns its warm loop and its sampler."""
    settings, train = dataclasses.replace(getattr(config, name), epochs=1), splits.train
    if name == "gan":
        return _start_gan(settings, train)
    watch, few = _Trainer(), first_images(train, 2 * settings.batch_size)
    recipe = {"judge": judge, "autoencoder": autoencoder, "diffusion": diffusion}[name].train
    networks = recipe(settings, few, few, Hooks([watch])).networks
    *_, network = networks.values()
    if name == "autoencoder":
        flops = autoencoder_flops(**networks, contrastive=settings.contrastive_weight > 0)
    else:
        flops = step_flops(network)
    targets = {"judge": [train.labels], "autoencoder": [train.images]}.get(name, [])
    data = (train.images, *targets)
    return _keras_loop(watch.model, flops, data, settings.batch_size), network


def product_gflops(side: int = _SIDE, seconds: float = 0.5) -> float:
    """The best rate of chains of float32 products of square matrices on this backend.

    As many chains at a time as the trainings have parts.
    """
    rng = np.random.default_rng(0)
    a, b = (keras.ops.convert_to_tensor(m) for m in rng.standard_normal((2, side, side), "float32"))
    b = b / side**0.5  # keeps the standard deviation of the product at 1

    def chain(products: int) -> None:
        x = a
        for _ in range(products):
            x = keras.ops.matmul(x, b)
        keras.ops.convert_to_numpy(x[0, 0])  # waits for the device

    def chains(products: int) -> float:
        begun = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
            list(pool.map(chain, [products] * AT_A_TIME))
        return (time.perf_counter() - begun) / products / AT_A_TIME

    chains(2)
    products = max(1, min(1000, round(seconds / 5 / AT_A_TIME / chains(2))))
    return 2 * side**3 / min(chains(products) for _ in range(5)) / 1e9


def per_step(times: Sequence[tuple[int, float]]) -> float:
    """Seconds of a step, from times after so many steps; none before the first are counted."""
    (first, begun), *_, (last, ended) = times
    return (ended - begun) / (last - first)


def call_seconds(call: Callable[[int], Any], seconds: float) -> float:
    """Median seconds of ``call(i)`` after one that is not counted; three calls at least."""
    call(0)
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < seconds:
        begun = time.perf_counter()
        call(len(taken) + 1)
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken))


def caption(peak: float) -> str:
    """Machine, backend and the matrix product behind the shares."""
    return (
        f"{tables.machine()}, load {os.getloadavg()[0]:.1f}; Keras {keras.__version__} on "
        f"{keras.config.backend()}, {device()}; {_SIDE} x {_SIDE} float32 product: "
        f"{peak:.0f} GFLOP/s"
    )


def device() -> str:
    """The device of the backend."""
    if keras.config.backend() == "jax":
        import jax

        return jax.devices()[0].device_kind
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        found = tf.config.list_physical_devices("GPU")
        if found:
            return tf.config.experimental.get_device_details(found[0]).get("device_name", "GPU")
    return "cpu"


def rows(speeds: list[Speed], peak: float) -> list[list[str]]:
    """A line of titles and one for each kind of work; ``peak`` in GFLOP/s."""
    lines = [[*_TITLES, "data / fixed"]]
    for s in speeds:
        ratio = "" if s.ratio is None else f"{s.ratio:.2f}"
        figures = [f"{s.flops / 1e6:.1f}", f"{s.images_per_second:.0f}", f"{s.gflops:.1f}"]
        lines.append([s.model, s.work, f"{s.batch}", *figures, f"{s.gflops / peak:.0%}", ratio])
    return lines


class _Trainer(keras.callbacks.Callback):
    """Gets to know the trainer of a training, as ``model``."""


def _keras_loop(trainer, flops: int, data: tuple[np.ndarray, ...], batch: int) -> Loop:
    """The loop of every model but the GAN, over all images or with one batch again and again."""
    all_images = compiled(trainer, data)
    one_batch = compiled(trainer, [part[:batch] for part in data])

    def real(steps: int) -> float:
        order = np.random.default_rng(0).permutation(len(data[0]))
        return seconds(all_images, order[: steps * batch].reshape(steps, batch))

    def fixed(steps: int) -> float:
        return seconds(one_batch, np.tile(np.arange(batch), (steps, 1)))

    def seconds(run, rows: np.ndarray) -> float:
        return per_step([(done, time.perf_counter()) for done, _ in run(rows)])

    return Loop(batch, flops, real, fixed)


def _start_gan(settings, train: Digits) -> tuple[Loop, keras.Model]:
    batch = settings.batch_size
    keras.utils.set_random_seed(settings.seed)
    model = gan.build_gan(settings, len(train.images) // batch)
    one = _OneBatch(train.images[:batch])

    def seconds(digits: Digits) -> float:
        seen: list[tuple[int, float]] = []
        hooks = Hooks(scalars=lambda step, _: seen.append((step, time.perf_counter())))
        gan.fit(model, settings, digits, hooks)
        return per_step(seen)

    def fixed(steps: int) -> float:
        one.count = steps * batch
        return seconds(dataclasses.replace(train, images=one))

    flops = gan_flops(model.generator, model.discriminator)
    loop = Loop(batch, flops, lambda steps: seconds(first_images(train, steps * batch)), fixed)
    return loop, GanSampler(model.generator, model.discriminator, slope=1.0)


class _OneBatch:
    """Like an image array to the GAN's loop, but any index returns one batch on the device."""

    def __init__(self, images: np.ndarray):
        self.images = images
        self.on_device = keras.ops.convert_to_tensor(images)
        self.count = len(images)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows):
        return self.on_device

    def std(self, axis: int) -> np.ndarray:
        return self.images.std(axis=axis)


if __name__ == "__main__":
    sys.exit(main())
