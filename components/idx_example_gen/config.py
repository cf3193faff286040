"""Settings of the data side of a run. Imports nothing heavy."""

from __future__ import annotations

import dataclasses

from core.config import require


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """How much of the data directory a run takes."""

    # Images per IDX file, the first of each; null takes all. For quick trials: at least 1,000, as a
    # twelfth goes to eval and its statistics must still mean something to the data gate.
    max_images: int | None = None

    def __post_init__(self):
        require(
            self.max_images is None or self.max_images >= 1000,
            f"data.max_images must be null or at least 1000, not {self.max_images}.",
        )
