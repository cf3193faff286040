"""The page of a pushed version: how it was made, as a graph from the data to the push.

    inkwell lineage gan -o lineage.html                                            seconds
    inkwell lineage gan -o lineage.svg                                             the graph alone

Contract: pure but for a look whether an artifact is there, to which the page links from its place.
A box is one execution of a node; where the run is not there, it is what the version itself names,
with the arrows of every pipeline.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from markupsafe import Markup

from core.wording import setting
from pipeline.local.lineage import Artifact, Origin, named_uris
from pipeline.pages.environment import graph_style, render
from pipeline.pages.graph import Box, draw
from pipeline.plan import NODES, TRAINERS

_DIGEST = 12  # characters that a box shows
_DATA, _VERSION = "data", "version"  # names of the first box and of the last
_PAGE = "index.html"  # of an artifact that has one


def lineage_page(origin: Origin, page_dir: Path) -> str:
    """The page, for a file in ``page_dir``."""
    return render(
        "lineage.html.jinja",
        origin=origin,
        graph=Markup(lineage_graph(origin, page_dir)),  # noqa: S704 - escaped
        facts=_facts(origin),
        settings=_settings(origin),
        links={artifact.uri: _link(origin, [artifact], page_dir) for artifact in origin.artifacts},
    )


def lineage_graph(origin: Origin, page_dir: Path, alone: bool = False) -> str:
    """The graph as SVG, for a file in ``page_dir``.

    Args:
        origin: The version.
        page_dir: Where the file will lie.
        alone: Whether it is a file of its own, which needs its style in it.
    """
    made: dict[str, list[Artifact]] = {}
    for artifact in origin.artifacts:
        made.setdefault(_execution(artifact.uri), []).append(artifact)
    boxes = {_DATA: Box(["data", _short((origin.lineage.get("data") or {}).get("digest"))])}
    boxes |= {name: _box(origin, name, artifacts, page_dir) for name, artifacts in made.items()}
    state = "damaged" if origin.damage else ", ".join(origin.labels) or "pushed"
    boxes[_VERSION] = Box(
        [f"{origin.model} {origin.version}", state],
        _relative(origin.directory, page_dir),
        "bad" if origin.damage else "good",
    )
    title = f"Lineage of {origin.model} {origin.version}"
    nodes = ", ".join(_node(name) for name in made)
    words = f"From the data through {nodes} to version {origin.version} of {origin.model}."
    style = graph_style() if alone else ""
    return draw(boxes, _arrows(origin, made), title, words, style)


def _arrows(origin: Origin, made: Mapping[str, Sequence[Artifact]]) -> Iterator[tuple[str, str]]:
    read = {
        name: {_execution(uri) for artifact in artifacts for uri in artifact.made_from}
        for name, artifacts in made.items()
    }
    is_recorded = any(read.values())
    for name in made:
        if is_recorded:
            yield from ((before, name) for before in read[name])
        else:
            needed = _all_needed(_node(name))
            yield from ((before, name) for before in made if _node(before) in needed)
        if _node(name) == "example-gen" or not (read[name] or is_recorded):
            yield _DATA, name
    yield from ((_execution(uri), _VERSION) for uri in named_uris(origin.lineage))
    if not made:
        yield _DATA, _VERSION


def _all_needed(node: str) -> set[str]:
    """All nodes before one."""
    found: set[str] = set()
    for before in NODES.get(node, ()):
        found |= {before} | _all_needed(before)
    return found


def _box(origin: Origin, name: str, artifacts: Sequence[Artifact], page_dir: Path) -> Box:
    digest = next((artifact.digest for artifact in artifacts if artifact.digest), "")
    number = PurePosixPath(name).name
    gone = all(artifact.present is False for artifact in artifacts)
    node = _node(name)
    lines = [node, f"execution {number}" if number.isdecimal() else _short(number)]
    if digest:
        lines.append(_short(digest))
    elif gone:
        lines.append("removed")
    kind = "gone" if gone else "training" if node in TRAINERS else ""
    return Box(lines, _link(origin, artifacts, page_dir), kind)


def _execution(uri: str) -> str:
    """Node and number of what made an artifact; its parts are node, key and number."""
    parts = PurePosixPath(uri).parts
    return f"{parts[-3]}/{parts[-1]}" if len(parts) >= 3 else uri


def _node(execution: str) -> str:
    return execution.partition("/")[0]


def _link(origin: Origin, artifacts: Sequence[Artifact], page_dir: Path) -> str:
    """To the first of the artifacts that is there; empty if none is."""
    for artifact in artifacts:
        if artifact.present and origin.folder:
            path = origin.folder / artifact.uri
            page = path / _PAGE
            return _relative(page if page.is_file() else path, page_dir)
    return ""


def _relative(path: Path, page_dir: Path) -> str:
    return Path(os.path.relpath(path, page_dir)).as_posix()


def _short(digest: str | None) -> str:
    return (digest or "not recorded")[:_DIGEST]


def _facts(origin: Origin) -> dict[str, str]:
    lineage = origin.lineage
    data, packages = lineage.get("data") or {}, lineage.get("packages") or {}
    return {
        "labels": ", ".join(origin.labels) or "none",
        "files": f"damaged: {origin.damage}" if origin.damage else "whole",
        "pushed": lineage.get("pushed_at") or "not recorded",
        "run": lineage.get("run_id") or "not recorded",
        "commit": lineage.get("commit") or "not recorded",
        "data": data.get("digest") or "not recorded",
        "packages": ", ".join(f"{k} {v}" for k, v in packages.items()) or "not recorded",
    }


def _settings(origin: Origin) -> dict[str, str]:
    return {
        f"{group}.{key}": setting(value)
        for group, settings in (origin.lineage.get("settings") or {}).items()
        for key, value in (settings or {}).items()
    }
