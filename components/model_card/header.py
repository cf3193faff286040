"""The header by which a model hub files a card: tags, and the gated metrics as a ``model-index``.

Contract: pure; plain data for YAML at the top of the Markdown card. Every number is one of
metrics.json. ``license`` is not known, and ``datasets`` would have to name a data set of the hub,
so both are left out. Source: ``modelcard.md`` of github.com/huggingface/hub-docs.
"""

from pathlib import PurePosixPath
from typing import Any

from components.model_card.content import UNKNOWN, Facts
from components.model_card.results import title_of
from components.model_card.words import words_of
from core.wording import MISSING, number


def header(facts: Facts) -> dict[str, Any]:
    """Tags, and the value of each gate that has one."""
    generates = any(name == "generate" for name, _ in words_of(facts.model).signatures)
    task = "unconditional-image-generation" if generates else "image-to-image"  # as the hub has it
    data = PurePosixPath(facts.data_dir).name or UNKNOWN
    metrics = [
        {"type": gate["metric"], "name": title_of(gate), "value": gate["value"]}
        for gate in facts.metrics.get("gates") or []
        if number(gate.get("value")) != MISSING
    ]
    result = {
        "task": {"type": task},
        "dataset": {"name": data, "type": data, "split": "test"},
        "metrics": metrics,
    }
    tags = {"tags": ["inkwell", "tensorflow", facts.model, task]}
    return tags | ({"model-index": [{"name": facts.model, "results": [result]}]} if metrics else {})
