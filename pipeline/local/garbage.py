"""Which artifacts of past runs are no longer needed, and their removal.

Contract: an artifact stays if it is needed by one of the newest runs, by the newest finished
execution of its node (so that a run that ended early goes on from the cache), or by a pushed
version that still exists, directly or through what these were made from. Records, logs, metrics,
reports and half-finished trainings stay in any case. The directory of the runs is locked meanwhile,
so that no run can be going on. What is removed is first taken from the cache: a crash between the
two leaves files that the next call removes.
"""

import dataclasses
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from core.artifacts import METRICS_FILE
from pipeline.local import database
from pipeline.local.integrity import Ledger
from pipeline.local.metadata import Graph, RunMetadata
from pipeline.local.workspace import ARTIFACTS, lock
from pipeline.plan import PIPELINE_NAME
from pipeline.results import order_of
from serving.releases import served_models
from serving.versions import list_versions, read_lineage

_PAGES = "report"  # node whose pages stay


@dataclasses.dataclass(frozen=True)
class Garbage:
    """An artifact that nothing needs."""

    path: Path
    size: int  # bytes that its removal frees


def collect(
    output_dir: Path, serving_dirs: Sequence[Path], keep: int, delete: bool
) -> list[Garbage]:
    """The artifacts that nothing needs, of every profile; removes them if told to.

    Args:
        output_dir: Directory of the runs.
        serving_dirs: Directories of pushed versions, besides those that the metadata name.
        keep: Number of newest runs of each profile whose artifacts stay, at least 1.
        delete: Whether to remove them.

    Raises:
        InputError: A run is going on, or the metadata of a profile are damaged.
        OSError: An artifact cannot be removed.
    """
    referred = {uri for folder in serving_dirs for uri in _referred(folder)}
    found = []
    with lock(output_dir):
        for profile_dir in sorted(path for path in output_dir.iterdir() if path.is_dir()):
            path = profile_dir / database.DATABASE
            if path.is_symlink() or not path.is_file() or not path.stat().st_size:
                continue
            database.check(path)
            metadata = RunMetadata(path, PIPELINE_NAME)
            garbage = list(_unneeded(profile_dir, metadata.graph(), referred, keep))
            if delete and garbage:
                _remove(profile_dir, metadata, garbage)
            found += garbage
    return found


def needed(graph: Graph, referred: Collection[str], keep: int) -> set[int]:
    """Executions whose outputs must stay.

    Args:
        graph: All executions of a profile.
        referred: URIs that lineages of pushed versions name.
        keep: Number of newest runs that stay.
    """
    newest = sorted(graph.runs, key=order_of)[-keep:]
    of_runs = {number for run in newest for number in graph.runs[run]}
    of_nodes = {node: n for n, node in graph.nodes.items() if n in graph.finished}
    existing = [uri for uri, version in graph.pushes.items() if os.path.isdir(version)]
    kept = {*of_runs, *of_nodes.values(), *graph.makers([*existing, *referred])}
    return graph.upstream(kept)


def _unneeded(
    profile_dir: Path, graph: Graph, referred: Collection[str], keep: int
) -> Iterator[Garbage]:
    kept = needed(graph, referred, keep)
    for path in sorted(profile_dir.glob(f"{ARTIFACTS}/*/*/*")):
        node, number = path.parts[-3], path.name
        # Only what an execution of this very node wrote, not what a user or a checkpoint put there.
        if not number.isdecimal() or graph.nodes.get(int(number)) != node or node == _PAGES:
            continue
        linked = any(place.is_symlink() for place in (path, path.parent, path.parents[1]))
        if int(number) not in kept and path.is_dir() and not linked:
            size = sum(file.lstat().st_size for file in _files(path))
            if size:
                yield Garbage(path, size)


def _referred(serving_dir: Path) -> Iterator[str]:
    """URIs of the artifacts that the versions in a directory came from."""
    for model in served_models(serving_dir):
        for version in list_versions(serving_dir / model):
            lineage = read_lineage(version.path)
            yield from (value for key, value in lineage.items() if key.endswith("_uri"))


def _remove(profile_dir: Path, metadata: RunMetadata, garbage: Sequence[Garbage]) -> None:
    uris = {found.path.relative_to(profile_dir).as_posix() for found in garbage}
    metadata.abandon(uris)
    ledger = Ledger(profile_dir)
    if known := [uri for uri in uris if uri in ledger]:
        ledger.forget(known)
    for found in garbage:
        for file in _files(found.path):
            file.unlink()
        for folder, _, _ in os.walk(found.path, topdown=False):
            if not os.listdir(folder):
                os.rmdir(folder)


def _files(folder: Path) -> list[Path]:
    """All that is removed: everything but metrics.json, by which past runs are compared."""
    return [
        Path(place, name)
        for place, folders, names in os.walk(folder)
        for name in (*names, *(f for f in folders if os.path.islink(os.path.join(place, f))))
        if Path(place, name) != folder / METRICS_FILE
    ]
