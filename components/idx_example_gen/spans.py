"""Data that grows: folders ``span-1``, ``span-2``, ... of a data directory, each a delivery.

Contract: a directory with such folders is read span by span, in the order of the numbers, which may
have gaps; all other directories are one source. What is not clear is an ``InputError``.
"""

import re
from collections.abc import Sequence

import numpy as np

from components.idx_example_gen import spool, storage
from components.idx_example_gen.arrays import Raw
from core.config import InputError

_NAME = re.compile(r"span-(\d+)", re.IGNORECASE)


def find(data_dir: str) -> list[str]:
    """Names of the folders that are spans, the oldest first; none where there is no span.

    Raises:
        InputError: Two have the same number, or a folder begins like a span and has no number.
    """
    if not storage.is_dir(data_dir):
        return []
    found: dict[int, str] = {}
    for name in storage.folders(data_dir):
        if not name.lower().startswith("span"):
            continue
        match = _NAME.fullmatch(name)
        if match is None:
            raise InputError(
                f"{data_dir} holds the folder {name}; a span is named span-1, span-2 and so on, so "
                "rename it."
            )
        other = found.setdefault(int(match[1]), name)
        if other != name:
            raise InputError(
                f"{data_dir} holds {other} and {name}, which have the same number; rename one."
            )
    return [found[number] for number in sorted(found)]


def join(parts: Sequence[Raw]) -> Raw:
    """One split of several spans, in their order."""
    if len(parts) == 1:
        return parts[0]
    where = f"{parts[0].where} to {parts[-1].where}"
    blocks = (block.tobytes() for part in parts for block in spool.blocks(part.images))
    images = spool.Spool(where).add_all(blocks).array().reshape(-1, *parts[0].images.shape[1:])
    kinds = {np.asarray(part.labels).dtype.kind == "U" for part in parts}
    if len(kinds) > 1:
        raise InputError(
            f"Of {where}, some spans have names as labels and others numbers; write the same."
        )
    labels = np.concatenate([np.asarray(part.labels) for part in parts])
    return Raw(images, labels, where, where)
