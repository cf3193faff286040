"""What it takes to start either model server; imports nothing heavy."""

from __future__ import annotations

import os
import socket
from pathlib import Path

TENSORFLOW_SERVING = "tensorflow_model_server"
ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """The caller's, with our packages importable and without GPUs, which the caller may hold."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A port that is free now; TensorFlow Serving cannot choose one itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
