"""The origin of an artifact, for records that outlive the local copy.

On a cluster a node reads copies of artifacts; the entrypoint of its pod notes each one's URL here.
"""

from typing import Any

ORIGIN_PROPERTY = "origin"


def origin(artifact: Any) -> str:
    """URL of the artifact in the store of the pipeline; its path where it is read in place."""
    return artifact.get_string_custom_property(ORIGIN_PROPERTY) or artifact.uri
