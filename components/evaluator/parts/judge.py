"""Accuracy of the judge: the same for every model, and gated like any other metric."""

from components.evaluator.catalogue import JUDGE
from components.evaluator.config import EvaluatorConfig
from components.evaluator.measurement import Measured, Part, Row
from components.evaluator.references import References
from components.evaluator.saved_model import LoadedModel


def parts(config: EvaluatorConfig) -> tuple[Part, ...]:
    """Accuracy on the test images."""
    return (Part("judge", "judge", JUDGE, measure),)


def measure(model: LoadedModel, references: References, stage: str, draw: bool) -> Measured:
    """Does not use ``model``."""
    return Measured(
        [Row("judge_accuracy", references.judge_accuracy, references.linear_classifier_accuracy)]
    )
