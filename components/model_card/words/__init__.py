"""What can be said of each model in advance: one file per model, named in ``core.models``.

Contract: a description holds what follows from the code alone and is true of every version. What
depends on data, settings or results is never written here; the card takes it from the run's files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from core.models import MODELS, load


@dataclasses.dataclass(frozen=True)
class ModelWords:
    """Description of one kind of model."""

    title: str
    summary: str  # one sentence
    method: str
    loss: str  # what the training curves named loss show, with the unit
    references: Sequence[str]
    uses: Sequence[str]
    signatures: Sequence[tuple[str, str]]  # name, what it does
    factors: Sequence[str]  # what the evaluation varies
    caveats: Sequence[str]


SETTINGS = (
    "Default settings were chosen by trials that a judge scored, and the judge learns from labels."
)
SEEDS = "Equal seeds give equal images; a seed is no secret and no watermark."

USERS = "Engineers who need a small generative model of 28x28 grey images with measured quality."
OUT_OF_SCOPE = (
    "Decisions about people: identity, age, health, or who wrote something.",
    "Reading digits for money, medicine or safety; the model does not classify.",
    "Images of another kind or size, colour images, photographs.",
    "Passing generated images off as collected data.",
)
ETHICS = (
    "What is known of the people who wrote the training images, and of their consent, is in the "
    "documentation of the data and not in the files: the images carry a class and nothing about a "
    "person. Whether the model serves all writers alike can therefore not be measured here.",
    "A generative model can give a training image back. The figures on memorisation above say how "
    "far that was looked for; where they are missing, it was not.",
    "Generated digits could be taken for real handwriting. Mark them as generated.",
)


def words_of(model: str) -> ModelWords:
    """The description of a model of ``core.models.MODELS``."""
    return load(MODELS[model].words)
