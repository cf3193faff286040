"""Pushes a SavedModel as a new version directory that a watching model server never sees half.

Contract: the version is staged under a name that servers skip, on the same file system, written
through to disk, and appears by one rename. Version numbers are unix seconds and only grow. A crash
at any moment leaves the existing versions intact; the next push removes its remains. A model that
is already the newest version is not pushed again, so a retry, or a run without a cache, changes
nothing. Whatever the process's umask, directories are 0755 and files 0644. The files that appear
are the ones that were judged, and clients get the version that the model was compared with until
then; the lock of the served model is held meanwhile. With a key the version is signed.
"""

import contextlib
import dataclasses
import errno
import json
import logging
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from core.config import InputError
from core.files import DIRECTORY_MODE, FILE_MODE, difference, digests, not_plain
from core.models import MODELS
from serving.locking import locked
from serving.releases import kept_versions, served_version, whole_version
from serving.signing import fault, sign
from serving.versions import (
    FILES_KEY,
    LINEAGE_FILE,
    Version,
    extra_file,
    list_versions,
    model_files,
)

KEEP_VERSIONS = 5

_STAGING = re.compile(r"\.staging-(?P<host>.+)-(?P<pid>\d+)-(?P<seconds>\d+)-[0-9a-f]{8}")
_STALE_SECONDS = 3600.0  # of a process on another machine, which cannot be checked

_LOGGER = logging.getLogger(__name__)


class Superseded(Exception):
    """Clients get another version than the one that the model was compared with; one sentence."""


@dataclasses.dataclass(frozen=True)
class Approval:
    """What the verdicts on a model are about."""

    files: Mapping[str, Mapping[str, str]]  # digests of the judged files, by the verdict's title
    champion: str  # number of the version it was compared with; empty if there was none


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
    approval: Approval | None = None,
    key: Ed25519PrivateKey | None = None,
) -> Pushed:
    """Makes the SavedModel in ``model_dir`` the newest version under ``destination``.

    If the model is already the newest version, or the one that clients get, returns that version.

    Args:
        model_dir: Directory with ``saved_model.pb``; it is copied.
        destination: Directory of one model's versions, on a mounted file system.
        extra: Contents of files to add to ``assets.extra``, by name. lineage.json is written in any
            case: it gets the digests of the model's files.
        keep_versions: Number of newest versions to keep, this one included; older ones are removed,
            except labelled ones and the target of a rollback.
        clock: Seconds since 1970.
        approval: What must still hold; None pushes any model onto any version.
        key: Signs the version, under the name of ``destination``; a version without that signature
            does not count as the model. None signs nothing.

    Raises:
        InputError: ``model_dir`` holds no SavedModel, or another one than the approved, or links,
            or the version in serving is damaged, or ``destination`` is a URL.
        Superseded: Another version went into serving after the approval; nothing was pushed.
    """
    model_dir, base = Path(model_dir), Path(destination).absolute()
    if not (model_dir / "saved_model.pb").is_file():
        raise InputError(f"There is no SavedModel in {model_dir} to push; {_remedy(base.name)}")
    if re.match(r"[a-z0-9]+://", str(destination)):
        raise InputError(
            f"Models are pushed by renaming a directory, which {destination} cannot do; "
            "mount it and give its path."
        )
    if keep_versions < 1:
        raise InputError(f"keep_versions must be at least 1, not {keep_versions}.")
    _make_directory(base)
    with locked(base.parent, base.name):
        return _push(model_dir, base, extra or {}, keep_versions, clock, approval, key)


def _push(
    model_dir: Path,
    base: Path,
    extra: Mapping[str, bytes],
    keep_versions: int,
    clock: Callable[[], float],
    approval: Approval | None,
    key: Ed25519PrivateKey | None,
) -> Pushed:
    _remove_stale_staging(base)
    _check_no_links(model_dir, base.name)
    found = digests(model_dir)
    if approval:
        for title, judged in approval.files.items():
            if what := difference(judged, found):
                raise InputError(
                    f"The model in {model_dir} is not the one that the {title} approved: {what}; "
                    f"{_remedy(base.name)}"
                )
    files = model_files(model_dir)
    for version in _newest_and_served(base):
        if model_files(version.path) == files and _is_signed(version, base.name, key):
            _prune(base, keep_versions)  # not done by a push that crashed after its rename
            return Pushed(version=str(version.number), destination=str(version.path))
    if approval:
        _check_champion(base, approval)

    staging = _staging_path(base)
    try:
        shutil.copytree(model_dir, staging, symlinks=True)
        _check_no_links(staging, base.name)
        if what := difference(found, digests(staging)):
            raise InputError(
                f"The copy of {model_dir} is not what was read before: {what}; run it again."
            )
        lineage = {**json.loads(extra.get(LINEAGE_FILE, b"{}")), FILES_KEY: files}
        text = json.dumps(lineage, indent=2) + "\n"
        for name, content in {**extra, LINEAGE_FILE: text.encode()}.items():
            path = extra_file(staging, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        version = _rename_to_next_version(staging, base, clock, key)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    _sync(base)
    _prune(base, keep_versions)
    return Pushed(version=str(version), destination=str(base / str(version)))


def _check_no_links(folder: Path, model: str) -> None:
    """Raises ``InputError`` for a model with links, whose targets are not its own."""
    if name := not_plain(folder):
        raise InputError(
            f"{folder / name} is a link or a special file, and a model that is pushed holds plain "
            f"files alone; {_remedy(model)}"
        )


def _newest_and_served(base: Path) -> list[Version]:
    """The newest version, and the one that clients get where a label makes that another one."""
    versions, served = list_versions(base), served_version(base.parent, base.name)
    return [v for v in versions if v == versions[-1] or v.path == served]


def _is_signed(version: Version, model: str, key: Ed25519PrivateKey | None) -> bool:
    """Whether a version has the signature of ``key``; true without a key."""
    return key is None or not fault(version.path, model, version.number, [key.public_key()])


def _remedy(model: str) -> str:
    command = f": inkwell run --from-node {MODELS[model].trained_by}" if model in MODELS else "."
    return f"train it again{command}"


def _check_champion(base: Path, approval: Approval) -> None:
    """Raises ``Superseded`` if clients get another version than the one of the comparison.

    Where there is none now, there is none that could be better.

    Raises:
        InputError: The version that clients get is damaged.
    """
    served = whole_version(base.parent, base.name)
    if served is None or served.name == approval.champion:
        return
    met = f"version {approval.champion}" if approval.champion else "no version"
    raise Superseded(
        f"The model was compared with {met}, and clients get version {served.name} now; run again "
        "to compare with it."
    )


def _staging_path(base: Path) -> Path:
    """A name that model servers skip and that holds process and time."""
    owner = f"{socket.gethostname()}-{os.getpid()}"
    return base / f".staging-{owner}-{int(time.time())}-{secrets.token_hex(4)}"


def _rename_to_next_version(
    staging: Path, base: Path, clock: Callable[[], float], key: Ed25519PrivateKey | None
) -> int:
    """Gives the staged files the next number, which is part of what is signed."""
    while True:
        versions = list_versions(base)
        newest = versions[-1].number if versions else 0
        version = max(int(clock()), newest + 1)
        if key:
            sign(staging, base.name, version, key)
        _settle_tree(staging)
        try:
            os.rename(staging, base / str(version))
            return version
        except OSError as error:
            # Another push took the number between the check and the rename; take the next one.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def _prune(base: Path, keep_versions: int) -> None:
    """Removes old versions; each by a rename first, so that no server reads half of one.

    What cannot be removed is left, as the new version is out by now.
    """
    kept = kept_versions(base.parent, base.name)
    for version in list_versions(base)[:-keep_versions]:
        if version.number in kept:
            continue
        grave = _staging_path(base)
        try:
            os.rename(version.path, grave)
            _remove(grave)
        except FileNotFoundError:
            continue  # another push removed it
        except OSError as error:
            _LOGGER.warning("%s cannot be removed (%s)", version.path, error.strerror or error)


def _remove(path: Path) -> None:
    """Removes a directory, or a link to one, which is not followed."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)


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
            with contextlib.suppress(OSError):
                _remove(path)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _make_directory(path: Path) -> None:
    """Makes what is missing of ``path``; a directory that is there keeps its mode."""
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        directory.chmod(DIRECTORY_MODE)


def _settle_tree(root: Path) -> None:
    """Sets the mode of every file and directory under ``root`` and writes them through to disk.

    A copy has the modes of its source, which KFP's launcher made under a umask of 0.
    """
    for name, _, files in os.walk(root):
        directory = Path(name)
        for path in (directory / file for file in files):
            path.chmod(FILE_MODE)
            _sync(path)
        directory.chmod(DIRECTORY_MODE)
        _sync(directory)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
