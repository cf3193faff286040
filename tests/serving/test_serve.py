"""What ``inkwell serve`` listens on, refuses, logs, and says when its server ends."""

import contextlib
import ctypes
import dataclasses
import io
import os
import queue
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from serving import serve as serve_module
from serving.client import Client
from serving.errors import ServingError
from serving.model_server.starting import free_ports
from tests.serving.conftest import ROOT, inkwell
from tests.serving.fake_tensorflow_serving import LAST_WORDS, STATUS, install_fake
from tests.serving.toy_models import save_gan

LOOPBACK, ANOTHER = "127.0.0.1", "127.0.0.2"  # every address in 127.0.0.0/8 is this computer
_LIMIT_SECONDS = 180.0
_CAPBSET_DROP, _DAC = 24, (1, 2)  # Linux: prctl, and the capabilities to write and read anywhere


@dataclasses.dataclass(frozen=True)
class Running:
    """``inkwell serve`` once it serves, or once it has ended."""

    process: subprocess.Popen
    grpc_port: int
    rest_port: int
    said: str

    @property
    def log(self) -> Path:
        return Path(re.search(r"its log: (\S+)", self.said)[1])


def _as_others() -> None:
    """As a user who is not the administrator, who may read and write anywhere."""
    for capability in _DAC:
        ctypes.CDLL(None).prctl(_CAPBSET_DROP, capability, 0, 0, 0)


@contextlib.contextmanager
def serve(*options: str, **popen) -> Iterator[Running]:
    """Starts it on two free ports, from any working folder, and reads until it serves."""
    grpc_port, rest_port = free_ports(2)
    command = [sys.executable, "-P", "-m", "pipeline.cli.main", "serve", *map(str, options)]
    popen["env"] = os.environ | {"PYTHONPATH": str(ROOT)} | popen.get("env", {})
    process = subprocess.Popen(
        [*command, "--port", str(grpc_port), "--rest-port", str(rest_port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **popen,
    )
    limit = threading.Timer(_LIMIT_SECONDS, process.kill)  # or reading would wait for ever
    limit.start()
    try:
        said = ""
        while "Ctrl-C" not in said:
            line = process.stdout.readline()
            if not line:
                break
            said += line
        yield Running(process, grpc_port, rest_port, said)
    finally:
        limit.cancel()
        process.terminate()
        process.wait(30)
        process.stdout.close()
        process.stderr.close()


def is_open(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A serving directory with the GAN alone, which starts soonest."""
    path = tmp_path_factory.mktemp("serve")
    save_gan(path / "models" / "gan" / "1")
    return path / "models"


def test_own_server_on_loopback_from_a_hostile_folder_with_its_noise_in_a_log(serving, tmp_path):
    """The user stands in a folder with modules named as ours, and has TensorFlow Serving."""
    path, record = install_fake(tmp_path / "bin")
    hostile = tmp_path / "hostile"
    (hostile / "serving").mkdir(parents=True)
    (hostile / "serving" / "__init__.py").touch()
    (hostile / "orjson.py").write_text("open('run', 'w')\n", "utf-8")
    models = shutil.copytree(serving, hostile / "models")
    with serve("--serving", "models", cwd=hostile, env={"PATH": path}) as running:
        assert f"gRPC {LOOPBACK}:{running.grpc_port}," in running.said, running.log.read_text()
        assert f"REST http://{LOOPBACK}:{running.rest_port}" in running.said
        for port in (running.grpc_port, running.rest_port):
            assert is_open(LOOPBACK, port) and not is_open(ANOTHER, port)
        assert not record.exists()
        assert not (hostile / "run").exists()
        assert running.log.parent.stat().st_mode & 0o777 == 0o700
        assert hostile not in running.log.parents
        (models / "gan" / "2").mkdir()
        (models / "gan" / "2" / "saved_model.pb").write_bytes(b"\x0ajunk" * 9)
        shown = ""
        while "saved_model.pb" not in shown:
            line = running.process.stderr.readline()
            assert line, shown
            shown += line
        log = running.log.read_text("utf-8")
        running.process.terminate()
        assert running.process.wait(30) == 0
        said = running.said + shown + running.process.stdout.read() + running.process.stderr.read()
    assert "INFO Loaded gan version 1" in log and "oneDNN" in log
    assert "oneDNN" not in said and "cuda" not in said.lower() and "INFO" not in said
    assert not running.log.parent.exists()  # the user ended it


def test_bounds_reach_the_server_and_a_name_is_listened_on_as_one_address(serving, tmp_path):
    options = ("--host", "localhost", "--max_count", "5", "--max-instances", "7")
    with serve("--serving", serving, *options) as running:
        assert f"gRPC localhost:{running.grpc_port}," in running.said, running.process.stderr.read()
        [child] = psutil.Process(running.process.pid).children()
        arguments = child.cmdline()
        assert f"--host={LOOPBACK}" in arguments and "--max_instances=7" in arguments
        server = ("--server", f"{LOOPBACK}:{running.rest_port}", "-o", tmp_path / "a.png")
        done = inkwell("generate", "gan", "--count", "6", *server)
        assert done.returncode == 2
        assert "must be between 1 and 5 (--max_count)" in done.stderr


def test_end_of_the_server_is_reported_with_signal_and_last_line(serving):
    with serve("--serving", serving, "--host", ANOTHER) as running:
        assert f"REST http://{ANOTHER}:{running.rest_port}" in running.said
        assert is_open(ANOTHER, running.rest_port) and not is_open(LOOPBACK, running.rest_port)
        [child] = psutil.Process(running.process.pid).children()
        child.send_signal(signal.SIGKILL)
        _out, err = running.process.communicate(timeout=30)
    assert running.process.returncode == 1
    last = running.log.read_text("utf-8").splitlines()[-1]
    assert err.startswith("inkwell: The model server was ended by SIGKILL")
    assert err.endswith(f"; its log {running.log} ends with: {last}\n")


def test_a_serving_directory_that_cannot_be_written_is_served_on_every_address(tmp_path):
    serving = tmp_path / "models"
    save_gan(serving / "gan" / "1")
    serving.chmod(0o555)

    options = ("--serving", serving, "--host", "0.0.0.0")
    with serve(*options, preexec_fn=_as_others, cwd=serving) as running:
        assert f"{serving} cannot be written" in running.said, running.process.stderr.read()
        assert f"REST on port {running.rest_port} of every address" in running.said
        assert "there is no login" in running.said and "0.0.0.0" not in running.said
        with Client("gan", f"{ANOTHER}:{running.rest_port}") as client:
            assert client.version() == 1
    assert [path.name for path in serving.iterdir()] == ["gan"]
    serving.chmod(0o755)


@pytest.mark.parametrize("command", [("promote", "gan", "1"), ("rollback", "gan")])
def test_labels_of_a_directory_that_cannot_be_written_stay(tmp_path, command):
    for version in ("1", "2"):
        (tmp_path / "gan" / version).mkdir(parents=True)
        (tmp_path / "gan" / version / "saved_model.pb").touch()
    tmp_path.chmod(0o555)
    options = ("--serving", tmp_path, "--server", "127.0.0.1:1")
    done = inkwell(*command, *options, preexec_fn=_as_others)
    tmp_path.chmod(0o755)
    assert done.returncode == 2 and done.stdout == "" and os.listdir(tmp_path) == ["gan"]
    assert f"{tmp_path} cannot be written (Permission denied), so the labels" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [("serve",), ("models",), ("promote", "gan", "1")])
def test_a_model_that_cannot_be_read_is_one_sentence(tmp_path, command):
    (tmp_path / "gan" / "1").mkdir(parents=True)
    (tmp_path / "gan").chmod(0o000)
    done = inkwell(*command, "--serving", tmp_path, preexec_fn=_as_others)
    (tmp_path / "gan").chmod(0o755)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == f"inkwell: {tmp_path / 'gan'} cannot be used: Permission denied.\n"


def test_tensorflow_serving_only_where_it_is_asked_for_on_every_address(serving, tmp_path):
    path, record = install_fake(tmp_path / "bin")
    env = os.environ | {"PATH": path}
    asked = ("serve", "--serving", serving, "--tensorflow-serving")
    for host in ((), ("--host", LOOPBACK), ("--host", "localhost")):
        done = inkwell(*asked, *host, env=env)
        assert done.returncode == 2 and not record.exists()
        assert "listens on every address" in done.stderr and "--host 0.0.0.0" in done.stderr
    done = inkwell(*asked, "--host", "0.0.0.0", "--max-count", "5", "--max-steps", "5", env=env)
    assert done.returncode == 2 and not record.exists()
    assert done.stderr == (
        "inkwell: TensorFlow Serving has no --max-count and --max-steps; leave that out, or leave "
        "out --tensorflow-serving.\n"
    )
    own = ("--token-file", "/none", "--allowed-host", "a")
    done = inkwell(*asked, "--host", "0.0.0.0", *own, env=env)
    assert done.returncode == 2 and not record.exists()
    assert "TensorFlow Serving has no --token-file and --allowed-host;" in done.stderr
    port, rest_port = free_ports(2)
    ports = ("--port", port, "--rest-port", rest_port)
    done = inkwell(*asked, "--host", "0.0.0.0", *ports, env=env)
    arguments = record.read_text("utf-8").splitlines()
    assert f"--port={port}" in arguments and f"--rest_api_port={rest_port}" in arguments
    assert f"--model_config_file={serving / 'models.config'}" in arguments
    assert not [flag for flag in arguments if flag.startswith(("--host", "--stop_at"))]
    assert "Starting TensorFlow Serving for gan" in done.stdout
    assert done.returncode == 1
    assert f"TensorFlow Serving ended with status {STATUS}; its log /" in done.stderr
    assert done.stderr.endswith(f"ends with: {LAST_WORDS}\n")
    done = inkwell(*asked, "--host", "0.0.0.0", *ports, env=env | {"PATH": "/usr/bin:/bin"})
    assert done.returncode == 2 and "tensorflow_model_server is not on PATH" in done.stderr


def test_a_full_disk_holds_nothing_up_and_warnings_of_tensorflow_serving_are_shown(
    serving, tmp_path
):
    head = "2026-01-01 00:00:00.123456:"
    noise = "head -c 200000 /dev/zero | tr '\\0' x | fold; echo"
    says = f"echo '{head} I quiet'\n{noise}\necho '{head} W level' $TF_CPP_MIN_LOG_LEVEL"
    path, record = install_fake(tmp_path / "bin", says)
    env = os.environ | {"PATH": path, "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}

    def small_files() -> None:  # writing beyond this fails, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536))

    asked = ("serve", "--serving", serving, "--tensorflow-serving", "--host", "0.0.0.0")
    options = {"env": env, "preexec_fn": small_files}
    done = inkwell(*asked, "--port", "0", "--rest-port", "0", **options)
    assert record.exists() and done.returncode == 1
    shown, _, end = done.stderr.partition("\n")
    assert shown == f"{head} W level 1"
    assert end.startswith(f"inkwell: TensorFlow Serving ended with status {STATUS}; its log /")
    assert end.count("\n") == 1
    [private] = tmp_path.glob("inkwell-serve-*")  # kept, as the sentence names it
    assert (private / "server.log").stat().st_size == 65_536


@pytest.mark.parametrize("is_closed_here", [True, False])
def test_output_is_copied_on_when_the_screen_is_closed(monkeypatch, is_closed_here):
    reader, writer = os.pipe()
    os.close(reader)  # a pane that was closed: writing raises BrokenPipeError
    screen = os.fdopen(writer, "w")
    if is_closed_here:
        with contextlib.suppress(BrokenPipeError):
            screen.close()
    monkeypatch.setattr(sys, "stderr", screen)
    log = io.BytesIO()
    said = b"ERROR one\nINFO two\nERROR three\n"
    serve_module._copy(io.BytesIO(said), log, serve_module._OURS, queue.SimpleQueue())
    assert log.getvalue() == said
    with contextlib.suppress(BrokenPipeError):
        screen.close()


def test_nothing_is_left_of_a_start_that_is_refused(serving, tmp_path, monkeypatch):
    """The playground's port is taken between the look at it and its use."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(serve_module, "listening_host", lambda host, ports: (LOOPBACK, LOOPBACK))
    with socket.create_server((LOOPBACK, 0)) as taken:
        page = taken.getsockname()[1]
        options = serve_module.ServeOptions(serving, (), port=0, rest_port=0, playground_port=page)
        with pytest.raises(ServingError, match="The playground cannot listen on"):
            serve_module.serve(options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--port", "99999"), "--port must be between 0 and 65535, not 99999."),
        (("--rest-port", "-1"), "--rest-port must be between 0 and 65535, not -1."),
        (("--port", "28500", "--rest-port", "28500"), "--port and --rest-port are both 28500"),
        (
            ("--playground", "--playground-port", "8501", "--port", "0"),
            "--rest-port and --playground-port are both 8501",
        ),
        (("--host", "192.0.2.1"), "--host 192.0.2.1 is not an address of this computer"),
        (("--host", "300.1.2.3"), "--host '300.1.2.3' is neither an IPv4 address nor the name"),
        (("--host", "::1"), "is neither an IPv4 address nor the name"),
        (("--host", ""), "is neither an IPv4 address nor the name"),
        (("--host", "a" * 70), "is neither an IPv4 address nor the name"),
        (("--models", "vae"), "There is no version of vae in"),
        (("--rest-port", "TAKEN", "--port", "0"), "is taken; choose another port with --rest-port"),
    ],
)
def test_mistakes_are_one_sentence_before_anything_starts(serving, options, words):
    with socket.create_server((LOOPBACK, 0)) as taken:
        options = [str(taken.getsockname()[1]) if o == "TAKEN" else o for o in options]
        started = time.monotonic()
        done = inkwell("serve", "--serving", serving, *options)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("inkwell: ") and words in done.stderr
    assert done.stderr.count("\n") == 1 and time.monotonic() - started < 10


def test_nothing_to_serve(tmp_path):
    done = inkwell("serve", "--serving", tmp_path)
    assert done.returncode == 2 and "There is no model in" in done.stderr
