"""The origin of an artifact, for records that outlive the local copy.

On a cluster a node reads copies of artifacts; the entrypoint of its pod notes each one's URL here.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

ORIGIN_PROPERTY = "origin"
_PARTS = 3  # node, key and id of an artifact


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
