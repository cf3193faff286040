"""Copies the signed versions of one model to a folder that nobody else can write.

    python -m serving.verified gan --source /models --target /verified --verify-key inkwell.pub

For servers that check no signature, such as TensorFlow Serving: they serve the copies. Contract: a
copy appears by one rename, after its own files were checked, and goes when its version has gone. A
version that was refused is looked at again once its files change. Runs until SIGTERM; needs no
TensorFlow.
"""

import argparse
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from serving.errors import ServingError
from serving.signing import fault, public_keys
from serving.versions import list_versions

_SECONDS = 10.0
_LOGGER = logging.getLogger(__name__)


def refresh(
    source: Path, target: Path, keys: Sequence[Ed25519PublicKey], refused: dict[Path, int]
) -> None:
    """One look at the versions of a model; both directories have its name.

    Args:
        source: Its versions.
        target: Those of them that are signed; it is made if need be.
        keys: One of them must have signed a version.
        refused: Versions that failed, with the state of their files; it is kept for the next look.

    Raises:
        OSError: ``target`` cannot be written.
    """
    target.mkdir(parents=True, exist_ok=True)
    found, there = ({v.number: v.path for v in list_versions(d)} for d in (source, target))
    for number, path in there.items():
        if number not in found:
            grave = target / f".gone-{number}"
            path.rename(grave)
            shutil.rmtree(grave)
            _LOGGER.info("Version %d of %s has gone", number, target.name)
    for number, path in found.items():
        state = _state(path)
        if number in there or refused.get(path) == state:
            continue
        staging = target / f".staging-{number}"
        shutil.rmtree(staging, ignore_errors=True)
        try:
            shutil.copytree(path, staging, symlinks=True)
            what = fault(staging, target.name, number, keys)
        except shutil.Error as error:
            what = f"it cannot be copied ({error})"
        if what:
            refused[path] = state
            shutil.rmtree(staging, ignore_errors=True)
            _LOGGER.error("%s is not served: %s", path, what)
        else:
            staging.rename(target / str(number))
            _LOGGER.info("Version %d of %s is signed", number, target.name)


def _state(path: Path) -> int:
    """Changes with the files of a version."""
    states = []
    for file in sorted(path.rglob("*")):
        status = file.lstat()
        states.append((file, status.st_ino, status.st_size, status.st_ctime_ns))
    return hash(tuple(states))


def main(arguments: list[str] | None = None) -> int:
    """Looks every ten seconds until SIGTERM or SIGINT; 1 if the key cannot be read."""
    parser = argparse.ArgumentParser("python -m serving.verified", description=__doc__)
    parser.add_argument("model", help="name under which it is served")
    parser.add_argument("--source", type=Path, required=True, help="directory of all models")
    parser.add_argument("--target", type=Path, required=True, help="directory of the copies")
    parser.add_argument("--verify-key", type=Path, required=True, help="public keys (PEM)")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    os.umask(0o022)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        keys = public_keys(given.verify_key)
    except ServingError as error:
        print(error, file=sys.stderr)
        return 1
    refused: dict[Path, int] = {}
    while True:
        try:
            refresh(given.source / given.model, given.target / given.model, keys, refused)
        except OSError as error:  # a share that is away for a while
            _LOGGER.error("%s: %s", error.filename or given.source, error.strerror)
        if stop.wait(_SECONDS):
            return 0


if __name__ == "__main__":
    sys.exit(main())
