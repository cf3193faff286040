"""The nodes of the pipeline and what each needs, known without importing TFX.

Contract: ``NODES`` agrees with ``create_pipeline`` (tested); ``inkwell run --dry-run`` prints it
and ``--from-node`` is checked against it, without the ten seconds of importing TFX.
"""

from core.config import InputError, suggest
from core.models import JUDGE, MODELS, STAGES

PIPELINE_NAME = "inkwell"
TRAINERS = tuple(stage.node_id for stage in STAGES)


def _nodes() -> dict[str, tuple[str, ...]]:
    trained = {
        stage.node_id: ("transform", *(before.node_id for before in kind.stages[:i]))
        for kind in MODELS.values()
        for i, stage in enumerate(kind.stages)
    }
    evaluators = {
        kind.evaluator: ("transform", JUDGE.node_id, kind.trained_by) for kind in MODELS.values()
    }
    checks = {kind.serving_check: ("transform", kind.trained_by) for kind in MODELS.values()}
    pushers = {
        kind.pusher: (
            "statistics-gen",
            *(stage.node_id for stage in kind.stages),
            *(kind.evaluator, kind.serving_check),
        )
        for kind in MODELS.values()
    }
    of_models = {**trained, **evaluators, **checks, **pushers}
    return {
        "example-gen": (),
        "schema": (),
        "statistics-gen": ("example-gen", "schema"),
        "example-validator": ("statistics-gen", "schema"),
        "data-gate": ("example-gen", "statistics-gen", "schema", "example-validator"),
        "transform": ("example-gen", "schema", "data-gate"),
        JUDGE.node_id: ("transform",),
        **of_models,
        "report": ("statistics-gen", "data-gate", JUDGE.node_id, *of_models),
    }


NODES = _nodes()


def check_node(node_id: str) -> None:
    """Raises ``InputError`` unless the pipeline has such a node."""
    if node_id not in NODES:
        hint = suggest(node_id, list(NODES))
        raise InputError(f"There is no node {node_id}{hint}; the nodes are {', '.join(NODES)}.")
