"""Where a pushed version comes from: its lineage.json, and the artifacts behind it.

Contract: reads the serving directory, and the metadata of the run where they are still there. The
version is named by its number, by a label, or as ``newest``; without a name it is the one that
clients get.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.local.database import DATABASE, check
from pipeline.plan import PIPELINE_NAME
from serving.errors import ServingError
from serving.releases import Release, check_served, read_releases, served_version
from serving.versions import damage, list_versions, read_lineage

NEWEST = "newest"
_AT = "@"


@dataclasses.dataclass(frozen=True)
class Artifact:
    """One artifact behind a version: its path below the profile's directory, or its URL."""

    uri: str
    present: bool | None  # None where it is not known where it would lie
    made_from: Sequence[str] = ()  # URIs
    digest: str = ""  # of a model's files, or of the data that it holds or describes


@dataclasses.dataclass(frozen=True)
class Origin:
    """A pushed version and where it comes from."""

    model: str
    version: str
    directory: Path
    labels: Sequence[str]
    damage: str  # empty if the version is whole
    lineage: Mapping[str, Any]  # lineage.json
    artifacts: Sequence[Artifact]  # each after what it was made from
    folder: Path | None  # where paths of artifacts begin; None if the run is not there


def trace(name: str, serving_dir: Path, output_dir: Path) -> Origin:
    """The origin of ``MODEL`` or ``MODEL@VERSION``.

    Raises:
        ServingError: There is no such model, version or label; the sentence names what there is.
        InputError: The metadata of the run are damaged.
    """
    model, at, version = name.partition(_AT)
    check_served(serving_dir, model)
    release = read_releases(serving_dir).get(model, Release())
    path = _directory(serving_dir, model, version if at else None, release)
    lineage = read_lineage(path)
    run_id = lineage.get("run_id")
    records = list(output_dir.glob(f"*/runs/{run_id}.json")) if run_id else []
    folder = records[0].parents[1] if records else None
    labels = [label for label, number in release.labels.items() if number == int(path.name)]
    return Origin(
        model=model,
        version=path.name,
        directory=path,
        labels=labels,
        damage=damage(path),
        lineage=lineage,
        artifacts=_artifacts(lineage, folder),
        folder=folder,
    )


def _directory(serving_dir: Path, model: str, version: str | None, release: Release) -> Path:
    paths = {found.number: found.path for found in list_versions(serving_dir / model)}
    if version is None and (served := served_version(serving_dir, model)):
        return served
    version = version or ""
    number = int(version) if version.isdecimal() else None
    number = {**release.labels, NEWEST: max(paths)}.get(version, number)
    if number not in paths:
        names = ", ".join(map(str, (*paths, NEWEST, *release.labels)))
        raise ServingError(
            f"There is no version {version or 'without a name'} of {model} in {serving_dir}; the "
            f"versions there: {names}."
        )
    return paths[number]


def named_uris(lineage: Mapping[str, Any]) -> list[str]:
    """The artifacts that the push read."""
    return sorted({uri for key, uri in lineage.items() if key.endswith("_uri")})


def _artifacts(lineage: Mapping[str, Any], folder: Path | None) -> list[Artifact]:
    """The artifacts that the lineage names and, where the metadata are there, all before them."""
    named = named_uris(lineage)
    if folder is None:
        return [Artifact(uri, None) for uri in named]
    made = _made(folder, named)
    unknown = [Artifact(uri, (folder / uri).is_dir()) for uri in named if uri not in made]
    return [*made.values(), *unknown]


def _made(folder: Path, uris: Sequence[str]) -> dict[str, Artifact]:
    """Every artifact up to these by URI, in the order in which they were made."""
    database = folder / DATABASE
    check(database)
    if not database.is_file():
        return {}
    from pipeline.local.metadata import RunMetadata

    graph = RunMetadata(database, PIPELINE_NAME).graph()
    found: dict[str, Artifact] = {}
    for number in sorted(graph.upstream(graph.makers(uris))):
        read = tuple(dict.fromkeys(graph.inputs.get(number, ())))
        for uri in graph.outputs.get(number, ()):
            there, digest = (folder / uri).is_dir(), graph.digests.get(uri, "")
            found.setdefault(uri, Artifact(uri, there, read, digest))
    return found
