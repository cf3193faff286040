"""The origin of an artifact and of the code that made it, for records that outlive the local copy.

On a cluster a node reads copies of artifacts; the entrypoint of its pod notes each one's URL here.
"""

import functools
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from core.artifacts import CONFIG_FILE, read_json
from core.models import MODELS

ORIGIN_PROPERTY = "origin"
# Custom property of examples and of their statistics: as JSON, the digest of the files that were
# read, and the settings of the reader.
DATA_PROPERTY = "data"
_PARTS = 3  # node, key and id of an artifact
_ROOT = Path(__file__).resolve().parents[1]
_GIT_SECONDS = 10.0
# Those whose releases change trained weights or measured metrics; requirements.lock of the commit
# has all others.
_PACKAGES = (
    *("tfx", "tensorflow", "tensorflow-transform", "tensorflow-data-validation", "keras"),
    *("apache-beam", "numpy", "scipy", "scikit-learn", "opentsne", "pillow"),
)


def origin(artifact: Any) -> str:
    """URL of the artifact in the store of the pipeline; its path where it is read in place."""
    return artifact.get_string_custom_property(ORIGIN_PROPERTY) or artifact.uri


def public(path: str, parts: int = _PARTS) -> str:
    """The last ``parts`` of a path, without the folders and users of a machine; URLs as they are.

    What is published with a model names its sources so.
    """
    return "/".join(PurePosixPath(path).parts[-parts:]) if path.startswith("/") else path


def public_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """metrics.json as it is published with a model: the compared versions by model and number."""
    compared = {key: metrics[key] for key in ("champion", "best") if metrics.get(key)}
    return {
        **metrics,
        **{key: {**v, "path": public(v.get("path", ""), parts=2)} for key, v in compared.items()},
    }


def sources(model_name: str, artifacts: Mapping[str, Any]) -> dict[str, Any]:
    """What a model was made from, as lineage.json holds it: ``data``, ``settings`` and its code.

    ``data`` are the digest of the files of images and labels, and how they were read, None if not
    known; ``settings`` those of each training, by their group in a run's settings.

    Args:
        model_name: Name it is served under.
        artifacts: ``statistics``, ``base_model`` and ``model``, as far as there are any.
    """
    statistics = artifacts.get("statistics")
    recorded = statistics.get_string_custom_property(DATA_PROPERTY) if statistics else ""
    models = [artifacts[name] for name in ("base_model", "model") if artifacts.get(name)]
    read = [read_json(Path(model.uri, CONFIG_FILE)) for model in models]
    groups = [s.settings for s in MODELS[model_name].stages][-len(models) :] if models else []
    data = json.loads(recorded) if recorded else None
    return {"data": data, "settings": dict(zip(groups, read, strict=True)), **code_origin()}


@functools.cache  # a run of hours is of the commit at its start
def code_origin() -> dict[str, Any]:
    """Where this code comes from: ``commit`` and ``packages``, their versions by name.

    The commit is that of the checkout, with ``-dirty`` if tracked files differ from it; None if
    there is no checkout, as in an image.
    """
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # the image of the model server has few of them
    return {"commit": _commit(_ROOT), "packages": found}


def _commit(folder: Path) -> str | None:
    if not (folder / ".git").exists():  # a checkout that merely surrounds the code is another
        return None
    git = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        told = subprocess.run(
            [*git, "--exclude=*"],  # no tag, but the commit
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return told.stdout.strip() or None
