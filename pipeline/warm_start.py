"""Where a training with ``warm_start`` begins: the weights of a version that is in serving.

Contract: a model in serving that was made with other data gives its weights to the next training.
If it was made with the data of now, it has nothing new to learn, and the training that made it is
named again, so that the cache has it. On this machine alone: the trainers of a cluster do not see
what is served.
"""

import os
from typing import Any

from core.artifacts import KERAS_DIR, WARM_START
from core.config import InputError
from core.files import digests
from serving.releases import whole_version
from serving.versions import extra_file, read_lineage


def begin(serving_dir: str, model: str, data_digest: str) -> dict[str, Any] | None:
    """``version``, its ``folder`` of Keras files and their ``digests``; None for new weights.

    Args:
        serving_dir: Directory of the pushed versions.
        model: Name of the model.
        data_digest: Of the files that the training will read.

    Raises:
        InputError: The version in serving is damaged, or an earlier release pushed it without its
            Keras files.
    """
    version = whole_version(serving_dir, model)
    if version is None:
        return None
    lineage = read_lineage(version)
    if (lineage.get("data") or {}).get("digest") == data_digest:
        return lineage.get(WARM_START)
    folder = extra_file(version, KERAS_DIR)
    found = digests(folder)
    if not found:
        raise InputError(
            f"Version {version.name} of {model} in serving has no Keras files to start from; an "
            f"earlier release pushed it. Run once with --set {model}.warm_start=false."
        )
    # Relative, so that outputs and models can be moved together.
    return {"version": version.name, "folder": os.path.relpath(folder), "digests": found}
