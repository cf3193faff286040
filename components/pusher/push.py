"""Pushes a SavedModel as a new version directory that a watching model server never sees half.

Contract: the version is staged under a name that servers skip, on the same file system, written
through to disk, and appears by one rename. Version numbers are unix seconds and only grow. A crash
at any moment leaves the existing versions intact; the next push removes its remains. A model that
is already the newest version is not pushed again, so a retry, or a run without a cache, changes
nothing.
"""

import dataclasses
import errno
import filecmp
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from core.config import InputError
from serving.releases import kept_versions
from serving.versions import EXTRA_DIR, extra_file, list_versions, newest_version

KEEP_VERSIONS = 5

_STAGING = re.compile(r"\.staging-(?P<host>.+)-(?P<pid>\d+)-(?P<seconds>\d+)-[0-9a-f]{8}")
_STALE_SECONDS = 3600.0  # of a process on another machine, which cannot be checked


@dataclasses.dataclass(frozen=True)
class Pushed:
    """A pushed version: its number as a decimal string, and its directory."""

    version: str
    destination: str


def push(
    model_dir: str | Path,
    destination: str | Path,
    extra: Mapping[str, bytes] | None = None,
    keep_versions: int = KEEP_VERSIONS,
    clock: Callable[[], float] = time.time,
) -> Pushed:
    """Makes the SavedModel in ``model_dir`` the newest version under ``destination``.

    If the model is already the newest version, returns that version.

    Args:
        model_dir: Directory with ``saved_model.pb``; it is copied.
        destination: Directory of one model's versions, on a mounted file system.
        extra: Contents of files to add to ``assets.extra``, by name.
        keep_versions: Number of newest versions to keep, this one included; older ones are removed,
            except labelled ones and the target of a rollback.
        clock: Seconds since 1970.

    Raises:
        InputError: ``model_dir`` holds no SavedModel, or ``destination`` is a URL.
    """
    model_dir, base = Path(model_dir), Path(destination).absolute()
    if not (model_dir / "saved_model.pb").is_file():
        raise InputError(f"There is no SavedModel in {model_dir} to push; train the model again.")
    if re.match(r"[a-z0-9]+://", str(destination)):
        raise InputError(
            f"Models are pushed by renaming a directory, which {destination} cannot do; "
            "mount it and give its path."
        )
    if keep_versions < 1:
        raise InputError(f"keep_versions must be at least 1, not {keep_versions}.")
    base.mkdir(parents=True, exist_ok=True)
    _remove_stale_staging(base)
    newest = newest_version(base)
    if newest and _is_copy(newest.path, model_dir):
        _prune(base, keep_versions)  # not done by a push that crashed after its rename
        return Pushed(version=str(newest.number), destination=str(newest.path))

    staging = _staging_path(base)
    try:
        shutil.copytree(model_dir, staging)
        for name, content in (extra or {}).items():
            path = extra_file(staging, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        _sync_tree(staging)
        version = _rename_to_next_version(staging, base, clock)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _sync(base)
    _prune(base, keep_versions)
    return Pushed(version=str(version), destination=str(base / str(version)))


def _is_copy(version: Path, model_dir: Path) -> bool:
    """Whether both directories hold the same files, except those that pushing adds."""

    def files(root: Path) -> list[Path]:
        found = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
        return [path for path in found if path.parts[0] != EXTRA_DIR]

    names = files(model_dir)
    return names == files(version) and all(
        filecmp.cmp(version / name, model_dir / name, shallow=False) for name in names
    )


def _staging_path(base: Path) -> Path:
    """A name that model servers skip and that holds process and time."""
    owner = f"{socket.gethostname()}-{os.getpid()}"
    return base / f".staging-{owner}-{int(time.time())}-{secrets.token_hex(4)}"


def _rename_to_next_version(staging: Path, base: Path, clock: Callable[[], float]) -> int:
    while True:
        versions = list_versions(base)
        newest = versions[-1].number if versions else 0
        version = max(int(clock()), newest + 1)
        try:
            os.rename(staging, base / str(version))
            return version
        except OSError as error:
            # Another push took the number between the check and the rename; take the next one.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def _prune(base: Path, keep_versions: int) -> None:
    """Removes old versions; each by a rename first, so that no server reads half of one."""
    kept = kept_versions(base.parent, base.name)
    for version in list_versions(base)[:-keep_versions]:
        if version.number in kept:
            continue
        grave = _staging_path(base)
        try:
            os.rename(version.path, grave)
        except FileNotFoundError:
            continue  # another push removed it
        shutil.rmtree(grave)


def _remove_stale_staging(base: Path) -> None:
    """Removes the remains of crashed pushes: their process is gone, or they are an hour old."""
    for path in base.glob(".staging-*"):
        found = _STAGING.fullmatch(path.name)
        if found is None:
            continue
        # Not by the directory's own time: a copied directory has that of its source.
        is_old = time.time() - int(found["seconds"]) > _STALE_SECONDS
        is_local = found["host"] == socket.gethostname()
        if is_old or (is_local and not _is_alive(int(found["pid"]))):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync_tree(root: Path) -> None:
    """Writes every file and directory under ``root`` through to disk."""
    for directory, _, files in os.walk(root):
        for name in files:
            _sync(Path(directory) / name)
        _sync(Path(directory))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
