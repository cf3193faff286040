"""Files that are ours: written atomically, opened without following links, and known by digests.

Contract: a reader finds the old content or the new, even after a crash. The content is staged next
to the file under a hidden, random name, which no model server, glob for ``*.json`` or list of
versions takes for the file, and is moved in one rename. A path says nothing of whose the file is:
what another user could have put there is not opened.
"""

import contextlib
import errno
import hashlib
import os
import pwd
import secrets
import stat
import time
from collections.abc import Mapping
from pathlib import Path

# Only the owner changes a model or an artifact, and all read it, such as a model server that runs
# as another user.
UMASK = 0o022
DIRECTORY_MODE, FILE_MODE = 0o777 & ~UMASK, 0o666 & ~UMASK
PRIVATE_DIRECTORY_MODE, PRIVATE_FILE_MODE = 0o700, 0o600
_RANDOM_BYTES = 8
_STALE_SECONDS = 3600.0
_ROOT = 0


def write_whole(
    path: str | os.PathLike[str], content: str | bytes, mode: int | None = None
) -> None:
    """Replaces the file by ``content``, text as UTF-8; makes the directory.

    Args:
        path: The file; a link of that name is replaced, not followed.
        content: Of the file.
        mode: Its permissions whatever the umask; None lets the umask decide.

    Raises:
        OSError: The file cannot be written; the old content is unchanged.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    staged = path.with_name(f".{path.name}.{secrets.token_hex(_RANDOM_BYTES)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with open(os.open(staged, flags, 0o666 if mode is None else mode), "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())  # or a crash of the machine may leave the name without content
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)


def _remove_stale(path: Path) -> None:
    """Removes what writers of the same file left that were killed an hour ago or earlier."""
    head, length = f".{path.name}.", 2 * _RANDOM_BYTES
    with contextlib.suppress(OSError):  # another writer removed it, or it is none of ours
        for name in os.listdir(path.parent):
            left = path.with_name(name)
            is_staged = name.startswith(head) and len(name) == len(head) + length
            if is_staged and time.time() - left.lstat().st_mtime > _STALE_SECONDS:
                left.unlink()


def open_own(path: str | os.PathLike[str], flags: int, shared: bool = False) -> int:
    """Opens a file of ours, such as a lock or a log, and makes it if need be; its descriptor.

    Args:
        path: A file in a directory that exists.
        flags: As of ``os.open``; O_TRUNC is not among them, as the file is looked at first.
        shared: Whether it may be another user's: a team, and pods of several users, share a
            directory of models. If not, it is made for its owner alone.

    Raises:
        OSError: It cannot be opened, is a link or no plain file, has a second name, or belongs to
            another user but root.
    """
    flags |= os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # not to wait for a pipe
    descriptor = os.open(path, flags, 0o666 if shared else PRIVATE_FILE_MODE)
    found = os.fstat(descriptor)
    is_ours = shared or found.st_uid in (os.geteuid(), _ROOT)
    if is_ours and stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
        os.set_blocking(descriptor, True)
        return descriptor
    os.close(descriptor)
    if not is_ours:
        raise PermissionError(errno.EPERM, f"it belongs to {_user(found.st_uid)}", str(path))
    raise OSError(errno.EINVAL, "it is no plain file with one name", str(path))


def stranger(folder: str | os.PathLike[str]) -> str:
    """Why others could choose what a directory holds, and the mend; empty if only we or root can.

    The group counts as ours: teams share directories so.

    Raises:
        OSError: There is no such directory.
    """
    ours = (os.geteuid(), _ROOT)
    of_link, found = os.lstat(folder), os.stat(folder)
    for owner in (of_link.st_uid, found.st_uid):
        if owner not in ours:
            return (
                f"belongs to {_user(owner)}, not to {_user(os.geteuid())}: run this as its owner, "
                "have it owned by you or root (chown)"
            )
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        return "can be changed by every user of this computer: forbid that (chmod o-w)"
    return ""


def not_plain(folder: str | os.PathLike[str]) -> str:
    """Path of the first entry under ``folder`` that is a link, a pipe or the like; empty if none.

    Args:
        folder: A directory, which is searched without following links.
    """
    for where, folders, names in os.walk(folder):
        for name in sorted([*folders, *names]):
            mode = os.lstat(os.path.join(where, name)).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                return os.path.relpath(os.path.join(where, name), folder)
    return ""


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def digests(folder: str | os.PathLike[str]) -> dict[str, str]:
    """SHA-256 in hexadecimal of every file under ``folder``, by its path from there.

    Empty where there is no such directory. A few megabytes take some hundredths of a second.

    Raises:
        OSError: A file cannot be read.
    """
    root = Path(folder)
    found = {}
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        with open(path, "rb") as file:
            found[path.relative_to(root).as_posix()] = hashlib.file_digest(
                file, "sha256"
            ).hexdigest()
    return found


def difference(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    """The first file that differs, in words: "variables.index is missing"; empty if none does.

    Args:
        expected: What ``digests`` gave before.
        found: What it gives now.
    """
    for name in sorted({*expected, *found}):
        if name not in found:
            return f"{name} is missing"
        if name not in expected:
            return f"{name} is new"
        if found[name] != expected[name]:
            return f"{name} differs"
    return ""
