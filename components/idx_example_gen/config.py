"""Settings of the data side of a run. Imports nothing heavy."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from core.config import STRICT

Format = Literal["auto", "idx", "npz", "parquet", "csv", "folders"]
# What the data gate may find: in the images themselves, and in their statistics.
Known = Literal[
    "blank", "disagree", "duplicate", "few", "gaps", "inverted", "leak", "scale", "shuffled",
    "sorted", "count", "drift", "schema", "skew",
]  # fmt: skip


@dataclass(frozen=True, config=STRICT)
class DataConfig:
    """What a run takes of the data directory."""

    # Images per split, the first of each where they are like the whole, else of each class its
    # share; null takes all. For quick trials: at least 1,000, as a twelfth goes to eval and its
    # statistics must still mean something to the data gate.
    max_images: Annotated[int, Field(ge=1000)] | None = None
    # Of the folders span-1, span-2, ... that a data directory may hold: so many of the newest are
    # read, and null reads all. 1 trains on what is new alone; see warm_start.
    spans: Annotated[int, Field(ge=1)] | None = None
    format: Format = "auto"  # of the files; auto takes the first that is there
    transpose: bool = False  # swap rows and columns, as EMNIST's files need
    allow: tuple[Known, ...] = ()  # faults that are known and shall not stop a run
