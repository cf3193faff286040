"""Small models on disk, and the faults that ``benchmarks.serving_chaos`` does to their storage.

Contract: a version answers with its own number, which no other version of any model has. Every
fault is put right again, and then a version must be served that proves that the watching goes on.
"""

import contextlib
import random
import resource
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

_PROOF_SECONDS = 60.0
_KEPT = 2  # versions on disk
_NUMBER = Path("assets", "number.txt")
_WARM_UP = Path("assets.extra", "tf_serving_warmup_requests")
_SAVED_MODEL = "saved_model.pb"


def dice(seed: int) -> random.Random:
    """Chance that can be repeated."""
    return random.Random(seed)  # noqa: S311 - guards nothing


def save_numbered(directory: Path) -> Path:
    """Writes a SavedModel that adds to ``x`` [B] the number in one of its files.

    ``loop`` takes as many steps as ``turns`` says.
    """
    import tensorflow as tf

    number = directory.with_name(_NUMBER.name)
    number.write_text("number 0")
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(str(number), tf.string, 0, tf.int64, 1, delimiter=" "), 0
    )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def add(x):
        return {"y": x + tf.cast(module.table.lookup(tf.constant("number")), tf.float32)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="turns")])
    def loop(turns):
        value = tf.constant(0.0)
        for _ in tf.range(turns):
            value = value * 0.5 + 1.0
        return {"y": value}

    tf.saved_model.save(module, str(directory), signatures={"serving_default": add, "loop": loop})
    return directory


class Model:
    """One model: where its versions lie, and which of them may answer at the moment."""

    def __init__(self, name: str, base: Path):
        self.name, self.base = name, base
        self.versions: list[int] = []  # whole ones on disk, oldest first
        self._may_answer: set[int] = set()
        self._lock = threading.Lock()

    def may_answer(self) -> set[int]:
        with self._lock:
            return set(self._may_answer)

    def add(self, version: int) -> None:
        """``version`` is the newest one on disk."""
        self.versions.append(version)
        self.expect(version)

    def expect(self, version: int) -> None:
        """From now on ``version`` may answer too."""
        with self._lock:
            self._may_answer.add(version)

    def proved(self, version: int) -> None:
        """From now on only ``version`` may answer."""
        with self._lock:
            self._may_answer = {version}


class Stores:
    """The models ``a`` and ``b`` with their models.config, and what is done to them."""

    def __init__(self, folder: Path, template: Path, rng: random.Random):
        self.config = folder / "models.config"
        self.process: psutil.Process | None = None  # whose table of files is filled
        self._template, self._rng = template, rng
        self._next = 1
        self._folder = folder
        self.models = [Model(name, folder / name) for name in ("a", "b")]
        for model in self.models:
            model.base.mkdir()
            self._push(model)
        self._write_config()
        self._faults: dict[str, Callable[[Model], object]] = {
            "swap": self._push,
            "newest version removed": self._roll_back,
            "broken version removed": self._broken,
            "broken version repaired": self._repaired,
            "warm-up of junk": self._warm_up,
            "base path gone": lambda model: self._without(model),
            "base path a file": lambda model: self._without(model, Path.touch),
            "base path a circle": lambda model: self._without(model, _circle),
            "version a circle": self._link,
            "base path unreadable": self._unreadable,
            "file table full": self._full,
            "models.config of junk": lambda _: self._bad_config("junk {"),
            "models.config gone": lambda _: self._bad_config(None),
            "another base path": self._move,
        }

    def fault(self, is_served: Callable[[Model, int], bool]) -> tuple[str, str]:
        """Does one fault, puts it right, and waits for the newest version; kind and trouble."""
        kind, model = self._rng.choice(sorted(self._faults)), self._rng.choice(self.models)
        self._faults[kind](model)
        newest, end = model.versions[-1], time.monotonic() + _PROOF_SECONDS
        while not is_served(model, newest):
            if time.monotonic() > end:
                return kind, f"{model.name} does not serve version {newest}"
            time.sleep(0.05)
        model.proved(newest)
        while len(model.versions) > _KEPT:
            shutil.rmtree(model.base / str(model.versions.pop(0)))
        return kind, ""

    def _push(self, model: Model, damage: Callable[[Path], object] | None = None) -> Path:
        """Adds a version by one rename; one with ``damage`` is not expected to answer."""
        version, self._next = self._next, self._next + 1
        staging = model.base / f".staging-{version}"
        shutil.copytree(self._template, staging)
        (staging / _NUMBER).write_text(f"number {version}")
        if damage:
            damage(staging)
        else:
            model.add(version)
        return staging.rename(model.base / str(version))

    def _roll_back(self, model: Model) -> None:
        if len(model.versions) < _KEPT:
            self._push(model)
            return
        model.expect(model.versions[-2])
        shutil.rmtree(model.base / str(model.versions.pop()))

    def _broken(self, model: Model) -> None:
        version = self._push(model, lambda v: (v / _SAVED_MODEL).write_bytes(b"junk"))
        self._pause()
        shutil.rmtree(version)

    def _repaired(self, model: Model) -> None:
        whole = (self._template / _SAVED_MODEL).read_bytes()
        version = self._push(model, lambda v: (v / _SAVED_MODEL).write_bytes(whole[:500]))
        self._pause()
        model.add(int(version.name))
        (version / _SAVED_MODEL).write_bytes(whole)

    def _warm_up(self, model: Model) -> None:
        def damage(version: Path) -> None:
            (version / _WARM_UP).parent.mkdir()
            (version / _WARM_UP).write_bytes(b"junk" * 20)

        version = self._push(model, damage)
        self._pause()
        model.add(int(version.name))
        (version / _WARM_UP).unlink()

    def _without(self, model: Model, instead: Callable[[Path], None] | None = None) -> None:
        away = model.base.rename(model.base.with_name(f"{model.base.name}.away"))
        if instead:
            instead(model.base)
        self._pause()
        if instead:
            model.base.unlink()
        away.rename(model.base)
        self._push(model)

    def _link(self, model: Model) -> None:
        link = model.base / "999999999"
        _circle(link)
        self._push(model)
        self._pause()
        link.unlink()

    def _unreadable(self, model: Model) -> None:
        model.base.chmod(0)  # the administrator may read it all the same
        self._pause()
        model.base.chmod(0o755)
        self._push(model)

    def _full(self, model: Model) -> None:
        with self._no_more_files():
            self._push(model)
            self._pause()

    @contextlib.contextmanager
    def _no_more_files(self) -> Iterator[None]:
        if self.process is None:
            yield
            return
        soft, hard = self.process.rlimit(resource.RLIMIT_NOFILE)
        highest = max(int(file.name) for file in Path(f"/proc/{self.process.pid}/fd").iterdir())
        self.process.rlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        try:
            yield
        finally:
            self.process.rlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def _bad_config(self, text: str | None) -> None:
        if text is None:
            self.config.unlink()
        else:
            self.config.write_text(text)
        self._pause()
        self._write_config()

    def _move(self, model: Model) -> None:
        """The configuration names a directory that has a broken version, and later a whole one."""
        model.base = self._folder / f"{model.name}-{self._next}"
        model.base.mkdir()
        self._push(model, lambda v: (v / _SAVED_MODEL).write_bytes(b"junk"))
        self._write_config()
        self._pause()
        model.versions.clear()
        self._push(model)

    def _pause(self) -> None:
        time.sleep(self._rng.uniform(0.3, 2.0))

    def _write_config(self) -> None:
        """Replaces models.config at once, so that no half of it is read."""
        models = "".join(
            f'  config {{ name: "{model.name}" base_path: "{model.base}" '
            'model_platform: "tensorflow" }\n'
            for model in self.models
        )
        new = self.config.with_suffix(".new")
        new.write_text(f"model_config_list {{\n{models}}}\n")
        new.replace(self.config)


def _circle(path: Path) -> None:
    path.symlink_to(path)
