"""The command, the environment and the last words of a server process."""

import os
import socket
import tempfile
import tracemalloc

import pytest

from serving.errors import ServingError
from serving.model_server import starting
from serving.model_server.starting import (
    ROOT,
    TENSORFLOW_SERVING,
    bind_errno,
    command,
    environment,
    free_ports,
    how_it_ended,
    is_free,
    last_line,
    oom_kills,
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


@pytest.mark.parametrize(
    "given", ["", os.pathsep, f"{os.pathsep}/a", f"/a{os.pathsep}", f".{os.pathsep}src"]
)
def test_the_working_folder_never_gets_onto_the_import_path(monkeypatch, given):
    monkeypatch.setenv("PYTHONPATH", given)
    found = environment()["PYTHONPATH"].split(os.pathsep)
    assert found == [str(ROOT), *(["/a"] if "/a" in given else [])]


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 99999), ("a" * 70, 1)])
def test_impossible_addresses_are_not_free(host, port):
    assert bind_errno(host, port) != 0 and not is_free(host, port)


def test_free_ports_are_below_those_of_kubernetes_and_of_outgoing_connections():
    ports = free_ports(500)
    assert len(set(ports)) == 500 and all(20_000 <= port < 30_000 for port in ports)
    assert free_ports(0) == []


def test_free_ports_are_free_on_their_host_and_nobody_elses(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.9", 0))
        port = taken.getsockname()[1]
        monkeypatch.setattr(starting, "_CHOSEN_PORTS", (port, port + 1))
        assert free_ports(1, "127.0.0.8") == [port]
        with pytest.raises(ServingError, match=r"127.0.0.9 from .* \(Address already in use\)"):
            free_ports(1, "127.0.0.9")
    with pytest.raises(ServingError, match="1000 tries"):
        free_ports(1, "127.0.0.8", taken=[port])


def test_free_ports_gives_up_where_nothing_can_be_bound():
    with pytest.raises(ServingError, match="Cannot assign requested address"):
        free_ports(1, "192.0.2.1")  # an address of no computer


def test_last_line_of_a_long_log_takes_little_memory():
    with tempfile.TemporaryFile() as log:
        log.write(1000 * (8 * 1024 * b"x" + b"\n") + b"the end\n")
        log.flush()
        tracemalloc.start()
        try:
            assert last_line(log) == "the end"
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()


def test_last_line_skips_blank_ones_and_is_cut():
    with tempfile.TemporaryFile() as log:
        assert last_line(log) == ""
        log.write(b"first\n" + 500 * b"x" + b"\n \n")
        log.flush()
        assert last_line(log) == 400 * "x"


@pytest.mark.parametrize(
    ("status", "killed", "words"),
    [
        (1, None, "ended with status 1"),
        (-15, 1, "was ended by SIGTERM"),
        (-11, 0, "was ended by SIGSEGV"),
        (-9, None, "was ended by SIGKILL, as the system does when memory runs out"),
        (-9, 1, "was ended by SIGKILL because memory ran out"),
        (-9, 0, "was ended by SIGKILL; memory had not run out"),
        (-40, None, "was ended by signal 40"),
    ],
)
def test_return_codes_in_words(status, killed, words):
    assert how_it_ended(status, killed) == words


def test_kills_for_want_of_memory_are_counted_where_the_system_tells_them(tmp_path):
    def write(name: str, text: str) -> None:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    assert oom_kills(tmp_path) is None
    write("proc/vmstat", "nr_free_pages 7\noom_kill 9\n")
    assert oom_kills(tmp_path) == 9
    write("proc/self/cgroup", "4:cpu,memory:/a/b\n0::/\n")
    assert oom_kills(tmp_path) == 9
    write("sys/fs/cgroup/memory/a/b/memory.oom_control", "under_oom 0\noom_kill 2\n")
    assert oom_kills(tmp_path) == 2
    write("proc/self/cgroup", "0::/\n")
    write("sys/fs/cgroup/memory.events", "low 0\noom 4\noom_kill 3\noom_group_kill 0\n")
    assert oom_kills(tmp_path) == 3
