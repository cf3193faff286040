"""The serving directory: ``<serving_dir>/<model>/<version>``, versions being numbers.

Contract: what lies there is read as a model server reads it; anything that is not a folder with a
number for a name, such as a version that is being copied, is no version.
"""

from __future__ import annotations

from pathlib import Path


def versions(model_dir: Path) -> list[Path]:
    """Version folders of a served model, oldest first; names that are no number are no version."""
    if not model_dir.is_dir():
        return []
    found = [path for path in model_dir.iterdir() if path.name.isdecimal() and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name))


def newest(model_dir: Path) -> Path | None:
    """The version that a model server would serve."""
    return versions(model_dir)[-1] if versions(model_dir) else None
