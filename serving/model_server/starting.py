"""Commands and free ports to start either model server; imports nothing heavy."""

import errno
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import BinaryIO

from core.foreign import masked
from serving.errors import ServingError

TENSORFLOW_SERVING = "tensorflow_model_server"
LOCAL = "127.0.0.1"
_SECRET_NAME = re.compile(
    r"SECRET|TOKEN|KEY|PASSW|PASSPHRASE|CREDENTIAL|COOKIE|^AWS_|_PAT$|KUBECONFIG|_SOCK$",
    re.IGNORECASE,
)
_CHOSEN_PORTS = (20_000, 30_000)  # from, to before
_PORT_TRIES = 1000
ROOT = Path(__file__).resolve().parents[2]
_LINE_CHARACTERS = 400
_LAST_BYTES = 64 * 1024


class PortError(Exception):
    """A port that a server cannot listen on.

    ``flag`` is the server's flag for that port, ``number`` an errno, or 0 for an unknown cause.
    """

    def __init__(self, host: str, port: int, flag: str, number: int):
        why = os.strerror(number) if number > 0 else "it cannot be opened"
        super().__init__(
            f"Cannot listen on {host}:{port} ({why}); choose another port with {flag}."
        )


def command(
    flags: Sequence[str], own_flags: Sequence[str] = (), *, tensorflow_serving: bool = False
) -> list[str]:
    """The command that starts a server: ours, or upstream's binary on request.

    Args:
        flags: For both servers.
        own_flags: For ours only.
        tensorflow_serving: Start ``tensorflow_model_server``. It has no flag for an address and
            listens on every one.

    Raises:
        ServingError: Upstream's binary is requested and not on PATH.
    """
    if not tensorflow_serving:
        # -P: the working directory may hold a module with the name of one of ours.
        ours = [sys.executable, "-P", "-m", "serving.model_server"]
        return [*ours, *flags, *own_flags, "--stop_at_end_of_stdin"]
    binary = shutil.which(TENSORFLOW_SERVING)
    if binary is None:
        raise ServingError(
            f"{TENSORFLOW_SERVING} is not on PATH; install TensorFlow Serving, or use the model "
            "server of this project."
        )
    return [binary, *flags]


def environment() -> dict[str, str]:
    """The caller's environment with our packages importable, without GPUs and without secrets.

    A model is a program. The models of a server that we start are on this machine, so that it needs
    neither the key that signs versions nor what opens a bucket or an API.
    """
    paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {
        **{name: value for name, value in os.environ.items() if not _is_secret(name, value)},
        # An empty entry stands for the working directory, and "." or "src" for what is in it.
        "PYTHONPATH": os.pathsep.join(path for path in paths if os.path.isabs(path)),
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


def _is_secret(name: str, value: str) -> bool:
    """Whether a variable holds a secret or the way to one, by its name or by the form of it."""
    return bool(_SECRET_NAME.search(name)) or masked(value) != value


def bind_errno(host: str, port: int) -> int:
    """The errno that prevents listening on the port now; 0 if it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno or errno.EINVAL
        except (OverflowError, UnicodeError):  # no such port, no such name
            return errno.EINVAL
        return 0


def is_free(host: str, port: int) -> bool:
    """Whether a server can listen on the port now."""
    return bind_errno(host, port) == 0


def free_ports(count: int, host: str = LOCAL, taken: Collection[int] = ()) -> list[int]:
    """Ports that are free now; TensorFlow Serving cannot choose one itself.

    They lie from 20,000 to 29,999: below the ports that Linux gives to outgoing connections, one
    of which could otherwise take a port before its server does, and below Kubernetes' NodePorts.

    Args:
        count: Number of ports.
        host: The address that they must be free on.
        taken: Ports that something else is about to listen on.

    Raises:
        ServingError: 1,000 tries did not find enough ports.
    """
    dice = random.SystemRandom()  # a seed set for a training must not make two calls agree
    ports: list[int] = []
    number = errno.EADDRINUSE
    for _ in range(_PORT_TRIES):
        if len(ports) == count:
            return ports
        port = dice.randrange(*_CHOSEN_PORTS)
        if port in taken or port in ports:
            continue
        error = bind_errno(host, port)
        if error:
            number = error
        else:
            ports.append(port)
    raise ServingError(
        f"{_PORT_TRIES} tries found no free port on {host} from {_CHOSEN_PORTS[0]} to "
        f"{_CHOSEN_PORTS[1] - 1} ({os.strerror(number)}); free some, or allow this process to "
        "listen on them."
    )


def terminate(process: subprocess.Popen, seconds: float) -> None:
    """Terminates a server, kills it after ``seconds``, and closes its standard input."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdin.close()


def last_line(log: BinaryIO) -> str:
    """The last line that a server wrote, cut at 400 characters; both name a failure there."""
    # pread: the process may write through the same file position, which must not move.
    start = max(0, os.fstat(log.fileno()).st_size - _LAST_BYTES)
    text = os.pread(log.fileno(), _LAST_BYTES, start).decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_LINE_CHARACTERS] if lines else ""


def oom_kills(root: Path = Path("/")) -> int | None:
    """Processes that the system has ended for want of memory, in this container if it counts them.

    None where nothing tells. ``root`` is that of the file system.
    """
    files = [root / "proc" / "vmstat"]
    for line in _lines(root / "proc" / "self" / "cgroup"):
        number, kinds, path = line.split(":", 2)
        if number == "0":  # cgroups of version 2
            files.insert(0, root / "sys/fs/cgroup" / path.strip("/") / "memory.events")
        elif "memory" in kinds.split(","):
            files.insert(0, root / "sys/fs/cgroup/memory" / path.strip("/") / "memory.oom_control")
    for file in files:
        for line in _lines(file):
            key, _, value = line.partition(" ")
            if key == "oom_kill":
                return int(value)
    return None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def how_it_ended(status: int, killed: int | None = None) -> str:
    """A child's return code in words: ``ended with status 1``, ``was ended by SIGTERM``.

    Args:
        status: The return code, negative for a signal.
        killed: By how much ``oom_kills`` grew while it ran; None if that is not known.
    """
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:  # a real-time signal
        name = f"signal {-status}"
    why = ""
    if status == -signal.SIGKILL:
        why = ", as the system does when memory runs out"
        if killed is not None:
            why = " because memory ran out" if killed else "; memory had not run out"
    return f"was ended by {name}{why}"
