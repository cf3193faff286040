"""Files written whole: a reader finds the old content or the new, and so does the next start.

Contract: the content is staged beside the file under a hidden name, which no model server, glob
for ``*.json`` or list of versions takes for the file, and is moved in one rename.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Replaces the file by ``content``, text as UTF-8; makes the directory.

    Raises:
        OSError: It cannot be written; what was there before is there still.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name for each thread that writes now, and one that the next process takes over.
    staged = path.with_name(f".{path.name}.{threading.get_native_id()}")
    try:
        with open(staged, "wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())  # or a crash of the machine may leave the name without content
        os.replace(staged, path)
    finally:
        staged.unlink(missing_ok=True)
