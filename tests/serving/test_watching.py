"""Nothing ends the watching of versions: errors in each call under traffic, and real ones."""

import errno
import gc
import random
import shutil
import threading
import time
import types
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import get_model_status_pb2, model_pb2, prediction_log_pb2

from serving.model_server import repository as module
from serving.model_server import servable as servable_module
from serving.model_server.config import ModelConfig
from serving.model_server.errors import LoadError, StatusError
from serving.model_server.metrics import Metrics
from serving.model_server.repository import Repository
from serving.model_server.servable import Servable
from tests.serving.numbered import save_numbered

STATE = get_model_status_pb2.ModelVersionStatus.State
INJECTIONS = 300
VERSIONS = 8
ERRNOS = ("EIO", "EMFILE", "ENFILE", "ESTALE", "EACCES", "ENOENT", "ENOTDIR", "ELOOP", "ETIMEDOUT")
TENSORFLOW = ("NotFoundError", "ResourceExhaustedError", "InternalError", "DataLossError")
ERRORS: list[Callable[[], Exception]] = [
    *(lambda n=name: OSError(getattr(errno, n), n) for name in ERRNOS),
    *(lambda n=name: getattr(tf.errors, n)(None, None, "injected") for name in TENSORFLOW),
    *(MemoryError, PermissionError, ValueError, KeyError, TypeError, AssertionError, RuntimeError),
    *(RecursionError, DecodeError, StopIteration, LookupError, OSError, BlockingIOError),
    lambda: LoadError("injected"),
    lambda: StatusError(grpc.StatusCode.UNAVAILABLE, "injected"),
    lambda: UnicodeDecodeError("utf-8", b"x", 0, 1, "injected"),
]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SavedModels named after the numbers that they answer with."""
    base = tmp_path_factory.mktemp("numbered")
    for number in range(1, VERSIONS + 1):
        save_numbered(base / str(number), number)
    return base


def push(saved: Path, base: Path, number: int, name: str = "") -> Path:
    base.mkdir(parents=True, exist_ok=True)
    target = base / (name or str(number))
    shutil.copytree(saved / str(number), base / ".staging")
    return (base / ".staging").rename(target)


def spec(name: str = "toy") -> model_pb2.ModelSpec:
    return model_pb2.ModelSpec(name=name)


def number_of(version: int) -> int:
    """What a version answers with, where there are more versions than SavedModels."""
    return (version - 1) % VERSIONS + 1


def answer(repository: Repository, name: str = "toy") -> int:
    """The number that the model answers with."""
    found = repository.find(spec(name)).run("", {"x": np.zeros(1, "float32")})
    return int(found["y"][0])


def status(repository: Repository, version: int) -> tuple[str, int, str]:
    """State of a version, and code and text of its error."""
    for found in repository.status(spec()).model_version_status:
        if found.version == version:
            error = found.status
            return STATE.Name(found.state), error.error_code, error.error_message
    raise AssertionError(version)


def wait_until(is_so: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


class Faults:
    """Random errors in wrapped calls, by a seed, while ``on``."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.counts: dict[str, int] = {}
        self.on = False

    def wrap(self, name: str, call: Callable) -> Callable:
        self.counts[name] = 0

        def faulty(*args, **kwargs):
            if self.on and self.random.random() < 0.2:
                self.counts[name] += 1
                raise self.random.choice(ERRORS)()
            return call(*args, **kwargs)

        return faulty


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """In every call that the watcher makes."""
    found = Faults(seed=23)
    calls = [
        *((module, name) for name in ("versions_in", "fingerprint", "Servable")),
        *((servable_module, name) for name in ("load_saved_model", "_read_signature_defs")),
        *((Servable, "warm_up"), (Metrics, "loaded"), (ModelConfig, "wanted")),
        (module.dataclasses, "replace"),
    ]
    for owner, name in calls:
        monkeypatch.setattr(owner, name, found.wrap(name, getattr(owner, name)))
    for library, name in (("threading", "Thread"), ("gc", "collect"), ("weakref", "ref")):
        real = getattr(module, library)
        double = types.SimpleNamespace(**vars(real))
        setattr(double, name, found.wrap(name, getattr(real, name)))
        monkeypatch.setattr(module, library, double)
    return found


@pytest.fixture
def watching() -> Iterator[Callable[[Repository], None]]:
    """Watches a repository from a thread until the test ends."""
    stop, threads = threading.Event(), []

    def watch(repository: Repository) -> None:
        threads.append(threading.Thread(target=repository.watch, args=(0.01, stop)))
        threads[-1].start()

    yield watch
    stop.set()
    for thread in threads:
        thread.join()


def test_no_error_in_any_call_ends_the_watching(saved, tmp_path, faults, watching):
    bases = {name: tmp_path / name for name in ("a", "b")}
    for base in bases.values():
        push(saved, base, 1)
    models = [ModelConfig(name, base) for name, base in bases.items()]
    repository = Repository(models, retries=3, retry_seconds=0.03)
    repository.start(0)
    stop, wrong, answered = threading.Event(), [], [0]

    def ask() -> None:
        while not stop.is_set():
            for name in bases:
                try:
                    servable = repository.find(spec(name))
                    got = servable.run("", {"x": np.zeros(1, "float32")})["y"][0]
                    if got != number_of(servable.version):
                        wrong.append((got, servable.version))
                except Exception as error:
                    wrong.append(error)
                answered[0] += 1
            time.sleep(0.005)

    asking = threading.Thread(target=ask)
    asking.start()
    watching(repository)
    faults.on = True
    newest = dict.fromkeys(bases, 1)
    while sum(faults.counts.values()) < INJECTIONS or min(faults.counts.values()) < 3:
        name = faults.random.choice(sorted(bases))
        newest[name] += 1
        push(saved, bases[name], number_of(newest[name]), str(newest[name]))
        time.sleep(0.05)
    faults.on = False
    for name, base in bases.items():
        wait_until(lambda n=name: answer(repository, n) == number_of(newest[n]))
        push(saved, base, number_of(newest[name] + 1), str(newest[name] + 1))  # and it goes on
        wait_until(lambda n=name: answer(repository, n) == number_of(newest[n] + 1))
    stop.set()
    asking.join()
    assert not wrong and answered[0] > 100


@pytest.fixture
def toy(saved, tmp_path) -> tuple[Repository, Path]:
    """A repository of one model with version 1 loaded, and its base path."""
    base = tmp_path / "toy"
    push(saved, base, 1)
    repository = Repository([ModelConfig("toy", base)], retries=1, retry_seconds=0.2)
    repository.start(0)
    return repository, base


def loop(base: Path) -> None:
    base.symlink_to(base)


@pytest.mark.parametrize("instead", [None, Path.touch, loop, lambda b: b.symlink_to("nothing")])
def test_a_base_path_that_is_gone_for_a_moment_keeps_what_is_loaded(toy, saved, instead, caplog):
    repository, base = toy
    away = base.rename(base.with_name("away"))
    if instead:
        instead(base)
    for _ in range(3):
        repository.poll()
        assert answer(repository) == 1 and status(repository, 1)[0] == "AVAILABLE"
    assert sum("Cannot look for versions" in r.message for r in caplog.records) == 1
    if instead:
        base.unlink()
    away.rename(base)
    push(saved, base, 2)
    repository.poll()
    assert answer(repository) == 2


def test_an_empty_base_path_unloads(toy):
    repository, base = toy
    shutil.rmtree(base / "1")
    repository.poll()
    with pytest.raises(StatusError, match="Servable not found"):
        repository.find(spec())
    assert status(repository, 1) == ("END", 0, "")


def test_a_link_in_a_circle_hides_no_version(toy, saved):
    repository, base = toy
    loop(base / "9")
    (base / "8").symlink_to("nothing")
    push(saved, base, 2)
    repository.poll()
    assert answer(repository) == 2


def test_a_failed_version_is_loading_then_ends_with_code_and_text(toy):
    repository, base = toy
    (base / "2").mkdir()
    repository.poll()
    assert status(repository, 2) == ("LOADING", 0, "")  # one more attempt
    time.sleep(0.2)
    repository.poll()
    state, code, text = status(repository, 2)
    assert (state, code) == ("END", grpc.StatusCode.NOT_FOUND.value[0]) and str(base / "2") in text
    (base / "3").mkdir()
    (base / "3" / "saved_model.pb").write_bytes(b"junk")
    repository.poll()
    time.sleep(0.2)
    repository.poll()
    assert status(repository, 3)[:2] == ("END", grpc.StatusCode.DATA_LOSS.value[0])
    assert status(repository, 2)[:2] == ("END", grpc.StatusCode.NOT_FOUND.value[0])
    assert answer(repository) == 1 and status(repository, 1) == ("AVAILABLE", 0, "")


def test_a_repaired_version_is_loaded_at_once(saved, tmp_path):
    base = tmp_path / "toy"
    push(saved, base, 1)
    repository = Repository([ModelConfig("toy", base)], retries=0, retry_seconds=3600)
    repository.start(0)
    push(saved, base, 2)
    whole = (base / "2" / "saved_model.pb").read_bytes()
    (base / "2" / "saved_model.pb").write_bytes(whole[:100])
    for _ in range(3):
        repository.poll()
    assert status(repository, 2)[0] == "END" and answer(repository) == 1
    (base / "2" / "saved_model.pb").write_bytes(whole)
    repository.poll()
    assert answer(repository) == 1  # the copy may still go on
    repository.poll()
    assert answer(repository) == 2 and status(repository, 2) == ("AVAILABLE", 0, "")


def test_a_version_that_stays_broken_is_tried_again_ever_more_rarely(toy, monkeypatch):
    repository, base = toy
    (base / "2").mkdir()
    now, tried = [1000.0], []
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Metrics, "not_loaded", lambda *_: tried.append(now[0]))
    for _ in range(400):
        repository.poll()
        now[0] += 0.05
    pauses = np.diff(tried).round(1).tolist()
    assert pauses[:5] == [0.2, 0.2, 0.4, 0.8, 1.6] and set(pauses[5:]) == {3.2}


def test_another_base_path_takes_over_when_it_is_ready(toy, saved, tmp_path):
    repository, base = toy
    elsewhere = ModelConfig("toy", tmp_path / "elsewhere")
    for _ in range(2):
        repository.configure([elsewhere])
        repository.poll()
        assert answer(repository) == 1
        elsewhere.base_path.mkdir(exist_ok=True)
    push(saved, elsewhere.base_path, 5, "1")  # with a number that is loaded from the old one
    assert answer(repository) == 1
    repository.poll()
    assert answer(repository) == 5
    assert status(repository, 1)[0] == "AVAILABLE"
    repository.configure([ModelConfig("toy", base)])
    repository.poll()
    assert answer(repository) == 1


def test_a_reload_that_fails_says_so(toy, saved, tmp_path):
    repository, base = toy
    broken = tmp_path / "broken"
    (broken / "4").mkdir(parents=True)
    known = ModelConfig("toy", base)
    with pytest.raises(
        StatusError, match=r"1 servable\(s\) did not become available: .*other v"
    ) as e:
        repository.reload([known, ModelConfig("other", broken)])
    assert e.value.code == grpc.StatusCode.UNKNOWN and str(broken / "4") in e.value.message
    with pytest.raises(StatusError, match=r"found under .*none \(No such file or directory"):
        repository.reload([known, ModelConfig("other", tmp_path / "none")])
    with pytest.raises(StatusError, match="2 servable"):
        repository.reload([ModelConfig("toy", broken), ModelConfig("other", broken)])
    assert answer(repository) == 1
    shutil.rmtree(broken / "4")
    push(saved, broken, 4)
    repository.reload([known, ModelConfig("other", broken)])
    assert answer(repository, "other") == 4


def test_warm_up_with_an_unknown_type_fails_that_version_alone(toy, saved):
    repository, base = toy
    version = push(saved, base, 2)
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.inputs["x"].dtype = 999
    (version / "assets.extra").mkdir()
    file = version / "assets.extra" / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(log.SerializeToString())
    repository.poll()
    time.sleep(0.2)
    repository.poll()
    assert (
        status(repository, 2)[0] == "END" and "tensor parsing error: x" in status(repository, 2)[2]
    )
    assert answer(repository) == 1


def test_a_saved_model_in_text_is_served(toy, saved):
    repository, base = toy
    version = push(saved, base, 2)
    binary = version / "saved_model.pb"
    parsed = saved_model_pb2.SavedModel.FromString(binary.read_bytes())
    binary.with_suffix(".pbtxt").write_text(text_format.MessageToString(parsed))
    binary.unlink()
    repository.poll()
    assert answer(repository) == 2
    assert "x" in repository.find(spec()).signature_defs["serving_default"].inputs


def test_storage_that_hangs_holds_up_no_other_model(saved, tmp_path, monkeypatch, watching):
    bases = [tmp_path / "a", tmp_path / "b"]
    for base in bases:
        push(saved, base, 1)
    repository = Repository([ModelConfig(base.name, base) for base in bases])
    repository.start(0)
    may_go, versions_in = threading.Event(), module.versions_in

    def hanging(base: Path):
        if base.name == "a":
            may_go.wait(60)
        return versions_in(base)

    monkeypatch.setattr(module, "versions_in", hanging)
    watching(repository)
    for base in bases:
        push(saved, base, 2)
    wait_until(lambda: answer(repository, "b") == 2)
    assert answer(repository, "a") == 1
    may_go.set()
    wait_until(lambda: answer(repository, "a") == 2)


def test_versions_that_were_unloaded_are_freed(toy, saved, watching):
    repository, base = toy
    gc.disable()
    try:
        watching(repository)
        held = repository.find(spec())
        first = weakref.ref(held._model.signatures["serving_default"].graph)
        push(saved, base, 2)
        wait_until(lambda: answer(repository) == 2)
        assert held.run("", {"x": np.ones(1, "float32")})["y"][0] == 2.0
        del held
        wait_until(lambda: first() is None)
    finally:
        gc.enable()
