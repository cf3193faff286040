"""The command, the environment and the last words of a server process."""

from __future__ import annotations

import os
import tempfile

import pytest

from serving.errors import ServingError
from serving.model_server.starting import (
    ROOT,
    TENSORFLOW_SERVING,
    bind_errno,
    command,
    environment,
    how_it_ended,
    is_free,
    last_line,
)
from tests.serving.fake_tensorflow_serving import install_fake


def test_upstreams_binary_is_taken_only_if_asked_for(tmp_path, monkeypatch):
    path, _ = install_fake(tmp_path / "bin")
    monkeypatch.setenv("PATH", path)
    ours = command(["--port=1"], ["--host=127.0.0.1"])
    assert ours[1:4] == ["-P", "-m", "serving.model_server"]
    assert "--host=127.0.0.1" in ours and "--stop_at_end_of_stdin" in ours
    assert command(["--port=1"], ["--host=127.0.0.1"], tensorflow_serving=True) == [
        str(tmp_path / "bin" / TENSORFLOW_SERVING),
        "--port=1",
    ]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command(["--port=1"], ["--host=127.0.0.1"]) == ours
    with pytest.raises(ServingError, match="is not on PATH"):
        command([], tensorflow_serving=True)


@pytest.mark.parametrize("given", ["", os.pathsep, f"{os.pathsep}/a", f"/a{os.pathsep}"])
def test_the_working_folder_never_gets_onto_the_import_path(monkeypatch, given):
    monkeypatch.setenv("PYTHONPATH", given)
    found = environment()["PYTHONPATH"].split(os.pathsep)
    assert found == [str(ROOT), *(["/a"] if "/a" in given else [])]


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 99999), ("a" * 70, 1)])
def test_impossible_addresses_are_not_free(host, port):
    assert bind_errno(host, port) != 0 and not is_free(host, port)


def test_last_line_skips_blank_ones_and_is_cut():
    with tempfile.TemporaryFile() as log:
        assert last_line(log) == ""
        log.write(b"first\n" + 500 * b"x" + b"\n \n")
        log.flush()
        assert last_line(log) == 400 * "x"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (1, "ended with status 1"),
        (-15, "was ended by SIGTERM"),
        (-9, "was ended by SIGKILL, as the system does when memory runs out"),
        (-40, "was ended by signal 40"),
    ],
)
def test_return_codes_in_words(status, words):
    assert how_it_ended(status) == words
