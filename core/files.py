"""Files written atomically, and digests that show whether files are still those seen before.

Contract: a reader finds the old content or the new, even after a crash. The content is staged next
to the file under a hidden name, which no model server, glob for ``*.json`` or list of versions
takes for the file, and is moved in one rename.
"""

import hashlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path

# Only the owner changes a model or an artifact, and all read it, such as a model server that runs
# as another user.
UMASK = 0o022
DIRECTORY_MODE, FILE_MODE = 0o777 & ~UMASK, 0o666 & ~UMASK


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Replaces the file by ``content``, text as UTF-8; makes the directory.

    Raises:
        OSError: The file cannot be written; the old content is unchanged.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # One name per writing thread, which a later process reuses.
    staged = path.with_name(f".{path.name}.{threading.get_native_id()}")
    try:
        with open(staged, "wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())  # or a crash of the machine may leave the name without content
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)


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
