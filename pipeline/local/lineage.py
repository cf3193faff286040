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
    labels = [label for label, number in release.labels.items() if number == int(path.name)]
    return Origin(
        model=model,
        version=path.name,
        directory=path,
        labels=labels,
        damage=damage(path),
        lineage=lineage,
        artifacts=_artifacts(lineage, output_dir),
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


def _artifacts(lineage: Mapping[str, Any], output_dir: Path) -> list[Artifact]:
    """The artifacts that the lineage names and, where the metadata are there, all before them."""
    named = sorted({uri for key, uri in lineage.items() if key.endswith("_uri")})
    run_id = lineage.get("run_id")
    records = list(output_dir.glob(f"*/runs/{run_id}.json")) if run_id else []
    if not records:
        return [Artifact(uri, None) for uri in named]
    profile_dir = records[0].parents[1]
    made_from = _made_from(profile_dir, named)
    return [
        Artifact(uri, (profile_dir / uri).is_dir(), made_from.get(uri, ()))
        for uri in (*made_from, *(uri for uri in named if uri not in made_from))
    ]


def _made_from(profile_dir: Path, uris: Sequence[str]) -> dict[str, Sequence[str]]:
    """What every artifact up to these was made from, in the order in which they were made."""
    database = profile_dir / DATABASE
    check(database)
    if not database.is_file():
        return {}
    from pipeline.local.metadata import RunMetadata

    graph = RunMetadata(database, PIPELINE_NAME).graph()
    found: dict[str, Sequence[str]] = {}
    for number in sorted(graph.upstream(graph.makers(uris))):
        for uri in graph.outputs.get(number, ()):
            found.setdefault(uri, tuple(dict.fromkeys(graph.inputs.get(number, ()))))
    return found
