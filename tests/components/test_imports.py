"""Modules import each other in one direction, deferred imports included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("benchmarks", "components", "pipeline", "serving", "trainer_modules")


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(path: Path) -> Iterator[str]:
    """Names that the file imports, wherever it does so but for the types alone."""
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        pending += ast.iter_child_nodes(node)


def test_no_modules_import_each_other_in_a_circle():
    paths = modules()
    assert len(paths) > 100
    graph = {name: set(imports(path)) & set(paths) - {name} for name, path in paths.items()}
    assert "components.data_gate.schema" in graph["components.data_gate.gate"]
    TopologicalSorter(graph).prepare()  # CycleError names the circle
