"""Another user of the same machine, while a serving check of ``inkwell run`` goes on."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from serving.client import Client
from serving.model_server.http_server import unix_socket
from serving.model_server.process import ServerProcess
from serving.signing import KEY_VARIABLE
from tests.serving.toy_models import save_gan

NEIGHBOUR = 12345
CONNECT = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"


def test_the_serving_check_can_be_reached_by_no_neighbour_and_over_no_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Rows 1 and 24: it listened on a random port, where a neighbour could load a program or answer
    in its place; a folder on PYTHONPATH as "." was a neighbour's as well (row 4). Nor does the
    candidate get the key that signs versions.
    """
    monkeypatch.setenv(KEY_VARIABLE, "s3cret")
    save_gan(tmp_path / "gan" / "1")
    with ServerProcess("gan", tmp_path / "gan", start_timeout_s=120) as server:
        process = psutil.Process(server._process.pid)
        assert KEY_VARIABLE not in process.environ()
        families = {each.family for each in process.net_connections("all")}
        assert families == {socket.AF_UNIX}
        for address in (server.endpoint, server.rest):
            path = Path(address.removeprefix("unix:"))
            assert path.is_socket() and path.parent.stat().st_mode & 0o077 == 0
            subprocess.run([sys.executable, "-c", CONNECT, path], check=True)
            if os.geteuid() == 0:
                done = subprocess.run(
                    ["/usr/bin/env", sys.executable, "-c", CONNECT, path],
                    user=NEIGHBOUR,
                    group=NEIGHBOUR,
                    extra_groups=[],
                    cwd="/",
                    capture_output=True,
                    text=True,
                )
                assert done.returncode != 0
                assert "Permission denied" in done.stderr, done.stderr
        for protocol, address in (("grpc", server.endpoint), ("rest", server.rest)):
            with Client("gan", address, protocol=protocol) as client:
                assert client.generate(1).shape == (1, 28, 28, 1)
    assert not path.parent.exists()


def test_a_socket_that_an_earlier_server_left_is_replaced_and_a_file_is_not(tmp_path: Path):
    path = tmp_path / "rest"
    unix_socket(str(path)).close()
    assert path.is_socket()
    unix_socket(str(path)).close()
    path.unlink()
    path.write_text("mine")
    with pytest.raises(OSError, match="Address already in use"):
        unix_socket(str(path))
    assert path.read_text() == "mine"
