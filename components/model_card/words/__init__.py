"""Descriptions of each model: one file per model, named in ``core.models``.

Contract: a description holds only what follows from the code and is true of every version. What
depends on data, settings or results comes from the run's files.
"""

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


SETTINGS = "Default settings were chosen in trials scored by a judge, which is trained on labels."
SEEDS = "Equal seeds give equal images; a seed is neither a secret nor a watermark."

USERS = "Engineers who need a small generative model of 28x28 grey images with measured quality."
OUT_OF_SCOPE = (
    "Decisions about people: identity, age, health, or who wrote something.",
    "Reading digits for money, medicine or safety; the model does not classify.",
    "Images of another kind or size, colour images, photographs.",
    "Passing generated images off as collected data.",
)
ETHICS = (
    "Information on the people who wrote the training images, and on their consent, is in the "
    "documentation of the data, not in the files: images carry a class and nothing about a person. "
    "Whether the model serves all writers equally can therefore not be measured here.",
    "A generative model can reproduce a training image. The memorisation metrics above measure "
    "this; if they are missing, it was not measured.",
    "Generated digits could be taken for real handwriting. Mark them as generated.",
)


def words_of(model: str) -> ModelWords:
    """The description of a model of ``core.models.MODELS``."""
    return load(MODELS[model].words)
