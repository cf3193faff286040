"""The nodes of the pipeline and what each needs, known without importing TFX.

Contract: ``NODES`` agrees with ``create_pipeline`` (tested); ``inkwell run --dry-run`` prints it
and ``--from-node`` is checked against it, both at once rather than after ten seconds.
"""

from __future__ import annotations

import difflib

from core.config import InputError

PIPELINE_NAME = "inkwell"
NODES: dict[str, tuple[str, ...]] = {
    "example-gen": (),
    "schema": (),
    "statistics-gen": ("example-gen", "schema"),
    "example-validator": ("statistics-gen", "schema"),
    "data-gate": ("statistics-gen", "schema", "example-validator"),
    "transform": ("example-gen", "schema", "data-gate"),
    "judge": ("transform",),
    "autoencoder": ("transform",),
    "finetune-ae": ("transform", "autoencoder"),
    "diffusion": ("transform",),
    "finetune-diffusion": ("transform", "diffusion"),
    "gan": ("transform",),
    "evaluate-ae": ("transform", "judge", "finetune-ae"),
    "evaluate-diffusion": ("transform", "judge", "finetune-diffusion"),
    "evaluate-gan": ("transform", "judge", "gan"),
    "serving-check-ae": ("transform", "finetune-ae"),
    "serving-check-diffusion": ("transform", "finetune-diffusion"),
    "serving-check-gan": ("transform", "gan"),
    "push-ae": (
        *("statistics-gen", "autoencoder", "finetune-ae"),
        *("evaluate-ae", "serving-check-ae"),
    ),
    "push-diffusion": (
        *("statistics-gen", "diffusion", "finetune-diffusion"),
        *("evaluate-diffusion", "serving-check-diffusion"),
    ),
    "push-gan": ("statistics-gen", "gan", "evaluate-gan", "serving-check-gan"),
    "report": (
        *("statistics-gen", "data-gate", "judge"),
        *("autoencoder", "finetune-ae", "diffusion", "finetune-diffusion", "gan"),
        *("evaluate-ae", "evaluate-diffusion", "evaluate-gan"),
        *("serving-check-ae", "serving-check-diffusion", "serving-check-gan"),
        *("push-ae", "push-diffusion", "push-gan"),
    ),
}

TRAINERS = ("judge", "autoencoder", "finetune-ae", "diffusion", "finetune-diffusion", "gan")


def check_node(node_id: str) -> None:
    """Raises ``InputError`` unless the pipeline has such a node."""
    if node_id not in NODES:
        close = difflib.get_close_matches(node_id, list(NODES), n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise InputError(f"There is no node {node_id}{hint}; the nodes are {', '.join(NODES)}.")
