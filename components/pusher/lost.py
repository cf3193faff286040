"""Makes a cached push run again once what it pushed is gone.

Contract: TFX takes a push from its cache when model and verdicts are the same, even if somebody
has removed the serving directory since. Call ``forget_lost_pushes`` before a local run: it marks
the PushedModel artifacts whose version is gone as deleted, and TFX does not reuse those. On
Kubeflow the cache of push nodes is switched off instead.
"""

from __future__ import annotations

import os
from typing import Any


def forget_lost_pushes(store: Any) -> list[str]:
    """Marks pushes whose version directory no longer exists; returns those directories.

    Args:
        store: ``ml_metadata.MetadataStore`` of the pipeline.
    """
    from ml_metadata.proto import metadata_store_pb2

    deleted = metadata_store_pb2.Artifact.DELETED
    lost = []
    for artifact in store.get_artifacts_by_type("PushedModel"):
        destination = artifact.custom_properties["pushed_destination"].string_value
        if destination and artifact.state != deleted and not os.path.isdir(destination):
            artifact.state = deleted
            lost.append(artifact)
    if lost:
        store.put_artifacts(lost)
    return sorted(a.custom_properties["pushed_destination"].string_value for a in lost)
