"""What the nodes that read the data directory find there, as digests of the files.

Contract: a node whose files change gets another digest, and no other node does. The digest is part
of the node's settings: on this machine it is taken when the pipeline is assembled, on a cluster by
the first task of each run.
"""

from components.data_gate.baseline import BASELINE_FILE
from components.data_gate.schema import SCHEMA_FILE
from components.idx_example_gen import data
from core.config import InputError

# By node: the files that it reads besides those of the images and their labels.
MORE_FILES = {"example-gen": (), "schema": (SCHEMA_FILE, BASELINE_FILE)}


def digests(data_dir: str) -> dict[str, str]:
    """SHA-256 by node; raises ``InputError`` if a file is missing or cannot be read."""
    return {node: data.digest(data_dir, *files) for node, files in MORE_FILES.items()}


def digests_if_readable(data_dir: str) -> dict[str, str]:
    """The same; empty texts if something is wrong, which the nodes themselves report."""
    try:
        return digests(data_dir)
    except InputError:
        return dict.fromkeys(MORE_FILES, "")
