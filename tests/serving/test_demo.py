"""``inkwell demo``, the packs that it serves, and the packs that are shipped."""

import contextlib
import fcntl
import json
import lzma
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import tensorflow as tf

from serving import packed
from serving.errors import ServingError
from serving.packed import pack, packs, unpack
from serving.versions import FILES_KEY, damage, extra_file, model_files, read_lineage
from tests.serving.conftest import ROOT, inkwell
from tests.serving.toy_models import save_autoencoder, save_models

SHIPPED = ROOT / "demo" / "models"
_MOST_SHIPPED_MB = 12


def pushed(version: Path, **lineage: str) -> Path:
    """``version`` with the lineage of a push."""
    file = extra_file(version, "lineage.json")
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({**lineage, FILES_KEY: model_files(version)}))
    return version


@pytest.fixture(scope="module")
def toy_packs(tmp_path_factory) -> Path:
    """A folder of packs of the three toys."""
    folder = tmp_path_factory.mktemp("packs")
    serving = save_models(tmp_path_factory.mktemp("toys"))
    for model in ("autoencoder", "diffusion", "gan"):
        pack(pushed(serving / model / "1"), model, folder / f"{model}.tar.xz")
    return folder


@contextlib.contextmanager
def demo(folder: Path, *options: str, **environment: str) -> Iterator[tuple]:
    """``inkwell demo`` once it has said where; the process and its two lines.

    One at a time on this computer: between its look at the usual ports and the server's use of them
    another process may take them.
    """
    with open(Path(tempfile.gettempdir(), "inkwell-demo-tests.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield from _demo(folder, *options, **environment)


def _demo(folder: Path, *options: str, **environment: str) -> Iterator[tuple]:
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli.main", "demo", "--models", str(folder), *options],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # as a terminal gives Ctrl-C to the whole group
    )
    try:
        yield process, process.stdout.readline() + process.stdout.readline()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)


def test_pack_holds_the_same_model_in_half_precision(tmp_path):
    version = pushed(save_autoencoder(tmp_path / "a" / "7"), run_id="of-the-training")
    (version / "assets.extra" / "model_card.md").write_text("a card")
    (version / "assets.extra" / "manifest.json").write_text("{}")
    target = tmp_path / "packs" / "autoencoder.tar.xz"
    changes = pack(version, "autoencoder", target)
    assert 0 < max(changes.values()) < 0.01 and "encode.code" in changes
    found = unpack(target, tmp_path / "served")
    assert found == tmp_path / "served" / "autoencoder" / "7"
    assert damage(found) == ""
    lineage = read_lineage(found)
    assert lineage["run_id"] == "of-the-training"
    assert lineage["packed_from"] == model_files(version)
    assert lineage[FILES_KEY] == model_files(found) != model_files(version)
    assert (found / "assets.extra" / "model_card.md").read_text() == "a card"
    assert (found / "assets.extra" / "clusters.json").is_file()
    assert not (found / "assets.extra" / "manifest.json").exists()  # signs other weights
    weights = tf.train.load_checkpoint(str(found / "variables" / "variables"))
    for name in weights.get_variable_to_shape_map():
        value = weights.get_tensor(name)
        if isinstance(value, np.ndarray) and value.dtype == np.float32:
            np.testing.assert_array_equal(value, value.astype("float16").astype("float32"))
    image = tf.constant(np.random.default_rng(1).random((4, 28, 28, 1)), tf.float32)
    codes = [
        tf.saved_model.load(str(path)).signatures["encode"](image=image)["code"]
        for path in (version, found)
    ]
    assert 0 < float(tf.reduce_max(tf.abs(codes[0] - codes[1]))) < 1e-3


def test_the_same_version_gives_the_same_pack(tmp_path):
    version = pushed(save_autoencoder(tmp_path / "a" / "7"))
    files = [tmp_path / str(i) / "autoencoder.tar.xz" for i in range(2)]
    for file in files:
        pack(version, "autoencoder", file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_values_beyond_half_precision_stay_as_they_are():
    large = np.array([1e6, 1.0001], "float32")
    np.testing.assert_array_equal(packed._rounded(large), large)
    assert packed._rounded(np.array([1.0001], "float32"))[0] == 1.0


def test_version_that_rounding_would_spoil_is_not_packed(tmp_path, monkeypatch):
    version = pushed(save_autoencoder(tmp_path / "a" / "7"))
    monkeypatch.setattr(packed, "_rounded", lambda t: t * 0 if _is_floats(t) else t)
    with pytest.raises(ServingError, match=r"changes decode\.image .* by 0\.\d+"):
        pack(version, "autoencoder", tmp_path / "autoencoder.tar.xz")
    assert not (tmp_path / "autoencoder.tar.xz").exists()


def _is_floats(tensor) -> bool:
    return isinstance(tensor, np.ndarray) and tensor.dtype == np.float32


def test_damaged_version_is_not_packed(tmp_path):
    version = pushed(save_autoencoder(tmp_path / "a" / "7"))
    (version / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ServingError, match="cannot be packed"):
        pack(version, "autoencoder", tmp_path / "autoencoder.tar.xz")


@pytest.mark.parametrize("how", ["cut", "noise", "changed", "other"])
def test_broken_pack_is_one_sentence(toy_packs, tmp_path, how):
    folder = tmp_path / "packs"
    shutil.copytree(toy_packs, folder)
    file = folder / "gan.tar.xz"
    whole = file.read_bytes()
    if how == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    elif how == "noise":
        file.write_bytes(b"no archive")
    elif how == "other":
        shutil.copy(folder / "diffusion.tar.xz", file)
    else:
        unpacked = unpack(file, tmp_path / "x")
        (unpacked / "variables" / "variables.index").write_bytes(b"changed")
        with lzma.open(file, "wb") as stream, tarfile.open(fileobj=stream, mode="w") as archive:
            archive.add(unpacked.parent, "gan")
    done = inkwell("demo", "--no-open", "--models", folder)
    assert done.returncode == 2 and "Playground" not in done.stdout
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert f"{file} is damaged" in done.stderr and "git checkout" in done.stderr


def test_no_packs_is_one_sentence_that_says_how_to_go_on(tmp_path):
    done = inkwell("demo", "--no-open", "--models", tmp_path / "none")
    assert done.returncode == 2
    assert "There are no demo models" in done.stderr and "python -m serving.packed" in done.stderr


def test_demo_serves_on_this_computer_alone_and_leaves_nothing(toy_packs, tmp_path):
    with socket.socket() as taken:  # the usual ports may be taken
        with contextlib.suppress(OSError):
            taken.bind(("127.0.0.1", 8502))
            taken.listen()
        with demo(toy_packs, "--no-open", TMPDIR=str(tmp_path)) as (process, line):
            address = re.search(
                r"\nPlayground: (http://127\.0\.0\.1:(\d+)) \(Ctrl-C ends it\)$", line
            )
            assert address and address[2] != "8502", line
            assert line.startswith("Starting autoencoder, diffusion, gan; ")
            assert "What it is made of" in httpx.get(address[1]).text
            config = httpx.get(f"{address[1]}/config.json").json()
            assert config["models"] == ["autoencoder", "diffusion", "gan"]
            answer = httpx.post(
                f"http://127.0.0.1:{config['rest_port']}/v1/models/gan:predict",
                json={"signature_name": "generate", "inputs": {"seed": 1, "count": 2}},
            )
            assert np.shape(answer.json()["outputs"]) == (2, 28, 28, 1)
            started = psutil.Process(process.pid).children(recursive=True)
            everyone = [psutil.Process(process.pid), *started]
            listening = [c for p in everyone for c in p.net_connections() if c.status == "LISTEN"]
            addresses = {c.laddr.ip.removeprefix("::ffff:") for c in listening}
            assert len(listening) >= 3 and addresses == {"127.0.0.1"}
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(30) == 0
            assert process.stdout.read() == ""  # two lines were all
    assert psutil.wait_procs(started, timeout=10)[1] == []
    assert list(tmp_path.glob("inkwell-*")) == []  # TensorFlow leaves files of its own


@pytest.mark.parametrize("option", [[], ["--no-open"]])
def test_browser_is_opened_unless_told_otherwise(toy_packs, tmp_path, option):
    seen, browser = tmp_path / "seen", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}.part && mv {seen}.part {seen}\n')
    browser.chmod(0o755)
    with demo(toy_packs, *option, BROWSER=f"{browser} %s") as (_, line):
        until = time.monotonic() + (3 if option else 20)
        while not seen.exists() and time.monotonic() < until:
            time.sleep(0.1)
    if option:
        assert "Playground" in line and not seen.exists()
    else:
        assert seen.read_text().strip() in line


@pytest.mark.skipif(not SHIPPED.is_dir(), reason="no demo models are shipped; see docs/serving.md")
def test_shipped_models_are_whole_small_and_documented(tmp_path):
    files = packs(SHIPPED)
    assert [file.name for file in files] == [
        f"{model}.tar.xz" for model in ("autoencoder", "diffusion", "gan")
    ]
    assert sum(file.stat().st_size for file in files) < _MOST_SHIPPED_MB * 1e6
    for file in files:
        version = unpack(file, tmp_path)
        card = (version / "assets.extra" / "model_card.md").read_text(encoding="utf-8")
        assert re.search(r"\| seed \| \d+", card), file
        lineage = read_lineage(version)
        assert lineage["run_id"] and lineage["packed_from"]
