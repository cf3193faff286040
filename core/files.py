"""Files written atomically: a reader finds the old content or the new, even after a crash.

Contract: the content is staged next to the file under a hidden name, which no model server, glob
for ``*.json`` or list of versions takes for the file, and is moved in one rename.
"""

import os
import threading
from pathlib import Path


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
