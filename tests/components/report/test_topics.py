"""Every table, picture and metric that the Evaluator can write lands under the topic it is of.

Titles are taken from the evaluator's code, so that a changed title cannot slip under "Other
measurements" unseen.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

import components.evaluator
from components.evaluator.catalogue import MODELS, catalogue
from components.report.topics import topic_of
from core.artifacts import MAP_SPRITE

FOLDER = Path(components.evaluator.__file__).parent


def words_of(node: ast.expr, names: dict[str, list[ast.expr]]) -> Iterator[str]:
    """The texts that an expression of the evaluator can give; numbers in it become 5,000."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "5,000" for part in node.values]
        yield "".join(parts)
    elif isinstance(node, ast.Name):  # a variable of the module, if it holds text
        for value in names.get(node.id, []):
            yield from words_of(value, names)


def first_arguments(name: str) -> dict[str, str]:
    """The first argument of every call of ``name`` in the evaluator, with the module it is in."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names: dict[str, list[ast.expr]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                names.setdefault(node.targets[0].id, []).append(node.value)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name:
                texts = list(words_of(node.args[0], names))
                assert texts, f"{path.name}:{node.lineno}: what is the first argument of {name}?"
                found |= dict.fromkeys(texts, path.stem)
    return found


TABLES = first_arguments("Table")
PICTURES = first_arguments("Picture")
PLACES = {
    "anomaly_part": "anomalies",
    "classifier_parts": "samples",
    "clusters_part": "clusters",
    "denoising_part": "denoising",
    "evaluate_gan": "discriminator",
    "generation": "samples",
    "generation_parts": "samples",
    "map_part": "map",
    "one_class": "anomalies",
    "reconstruction_part": "reconstruction",
}


@pytest.mark.parametrize("title", TABLES)
def test_a_table_of_the_evaluator_lands_under_the_topic_of_the_part_that_makes_it(title):
    module = TABLES[title]
    if module == "neighbour_parts":  # of two subjects
        expected = "memory" if "too close" in title else "samples"
    else:
        expected = PLACES[module]
    assert topic_of(title) == expected


def test_the_titles_were_found():
    assert len(TABLES) >= 12 and len(PICTURES) >= 12
    assert any(title.startswith("Nearest of 5,000 train images") for title in TABLES)


@pytest.mark.parametrize("file", PICTURES)
def test_no_picture_of_the_evaluator_lands_under_other_measurements(file):
    expected = PLACES.get(PICTURES[file])
    found = topic_of(PurePosixPath(file).stem)
    assert found != "other" and expected in (None, found)


@pytest.mark.parametrize("model", MODELS)
def test_no_metric_of_the_evaluator_lands_under_other_measurements(model):
    found = {name: topic_of(name) for name in catalogue(model, (0.05, 0.4, 1.0))}
    assert "other" not in found.values()
    given = {"memorised_share": "memory", "nearest_neighbour_accuracy": "samples"}
    assert all(found[name] == topic for name, topic in given.items() if name in found)


def test_the_thumbnails_of_the_map_are_no_picture_of_their_own():
    assert MAP_SPRITE in PICTURES  # the report leaves that file out
