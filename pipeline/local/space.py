"""Whether the disk has room for a run, asked before its first node.

Contract: the rule is measured: on 2026-11-27 the outputs of runs took 158 MB with 2,000 images
(profile smoke) and 234 MB with 70,000 (profile quick), of which models are 155 MB whatever the
data. A training keeps a checkpoint as well, and the report and the records grow with the gates.
"""

import shutil
from pathlib import Path

from core.config import InputError

_MODELS = 250e6  # bytes: 155 of trained models, up to 40 of a checkpoint, then some air
_IMAGE = 2500  # bytes: twice what an image takes as example and transformed, both compressed
_CLEARLY = 3  # below this part of the need, a run that begins with nothing is refused


def estimate(images: int) -> float:
    """Bytes that the outputs of one run need.

    Args:
        images: Of train and test.
    """
    return _MODELS + _IMAGE * images


def check_space(output_dir: Path, images: int) -> str:
    """A sentence on the space that is needed and free.

    Args:
        output_dir: Directory of the runs, which need not exist.
        images: Of train and test.

    Raises:
        InputError: There is clearly too little for a run that begins with nothing. One that goes
            on needs less, as finished nodes are cached.
    """
    place = next(path for path in (output_dir, *output_dir.parents) if path.exists())
    needed, free = estimate(images), shutil.disk_usage(place).free
    words = f"A run needs up to {_megabytes(needed)} of disk; {place} has {_megabytes(free)} free."
    if free < needed / _CLEARLY and not any(output_dir.glob("*/pipeline/*")):
        raise InputError(f"{words} Free some, or name another disk with --output.")
    return words


def _megabytes(number: float) -> str:
    return f"{number / 1e6:,.0f} MB"
