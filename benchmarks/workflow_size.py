"""The size of a compiled pipeline as a workflow on a cluster, from its package alone.

Argo compresses the status of a workflow whose JSON is above 1 MiB (``workflow/packer/packer.go``),
and from then on KFP stores no task any more and refuses to retry the run. This module builds the
JSON of a workflow that ran to its end, every task once and none from the cache, as KFP 2.17
(``backend/src/v2/{compiler/argocompiler,driver}``) and Argo 4.0 (``workflow/controller``) do:

    inkwell compile -o pipeline.yaml && python -m benchmarks.workflow_size pipeline.yaml

Takes a second.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks import tables
from benchmarks.workflow_driver import json_bytes
from benchmarks.workflow_model import Workflow

LIMIT = 1024 * 1024  # bytes of JSON above which Argo compresses the status of the nodes


@dataclasses.dataclass(frozen=True)
class Size:
    """Bytes of the workflow's JSON."""

    parts: dict[str, int]  # the spec, then the status by the parameter that holds it
    tasks: dict[str, int]  # the status by task of the pipeline
    nodes: dict[str, int]  # how many nodes of each type the status has

    @property
    def spec(self) -> int:
        return self.parts["spec"]

    @property
    def status(self) -> int:
        return sum(self.parts.values()) - self.spec

    @property
    def total(self) -> int:
        return self.spec + self.status


def measure(spec: dict[str, Any], platform: dict[str, Any], is_kept_small: bool = True) -> Size:
    """Size of the workflow that runs a compiled pipeline.

    Args:
        spec: First document of a package, the pipeline spec.
        platform: Second document, its Kubernetes settings.
        is_kept_small: Whether the pods keep the metadata small, as the entrypoint does.
    """
    workflow = Workflow(spec, platform, is_kept_small)
    workflow.run()
    parts: dict[str, int] = {"spec": json_bytes(workflow.document(with_status=False))}
    tasks: dict[str, int] = {}
    kinds: dict[str, int] = {}
    for name, node in workflow.nodes.items():
        kinds[node["type"]] = kinds.get(node["type"], 0) + 1
        size = json_bytes(node) + len(name) + 4
        task = workflow.task_of[name]
        tasks[task] = tasks.get(task, 0) + size
        for side in ("inputs", "outputs"):
            for parameter in node.get(side, {}).get("parameters", ()):
                part = parameter["name"]
                parts[part] = parts.get(part, 0) + json_bytes(parameter)
                size -= json_bytes(parameter)
        parts["the rest of the nodes"] = parts.get("the rest of the nodes", 0) + size
    rest = json_bytes(workflow.document(with_status=True)) - sum(parts.values())
    parts["the rest of the status"] = rest
    return Size(parts, tasks, kinds)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the parts of the workflow and its tasks; returns 1 if it is too large for Argo."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("package", type=Path, help="what inkwell compile wrote")
    parser.add_argument(
        "--full-metadata",
        action="store_true",
        help="reckon with pods that leave all metadata to KFP, as those of older packages do",
    )
    options = parser.parse_args(argv)
    spec, platform = yaml.safe_load_all(options.package.read_text("utf-8"))
    size = measure(spec, platform, not options.full_metadata)
    for title, sizes in (("part", size.parts), ("task", size.tasks)):
        rows = sorted(sizes.items(), key=lambda item: -item[1])
        lines = [(title, "kB"), *((name, f"{value / 1000:,.1f}") for name, value in rows)]
        tables.show(f"Bytes by {title}", lines)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(size.nodes.items()))
    print(
        f"Spec {size.spec / 1000:,.0f} kB, status {size.status / 1000:,.0f} kB ({kinds}): "
        f"{size.total / LIMIT:.2f} of the 1 MiB above which KFP shows no task."
    )
    return 0 if size.total <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
