"""Settings of the data side of a run. Imports nothing heavy."""

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from core.config import STRICT


@dataclass(frozen=True, config=STRICT)
class DataConfig:
    """How much of the data directory a run takes."""

    # Images per IDX file, the first of each; null takes all. For quick trials: at least 1,000, as a
    # twelfth goes to eval and its statistics must still mean something to the data gate.
    max_images: Annotated[int, Field(ge=1000)] | None = None
