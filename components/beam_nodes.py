"""Executors of the nodes that run on Beam, which end well only where their files are.

Contract: Beam's workers may be other processes on other machines (setting ``beam_args``). They get
absolute paths, as their current directory is another. Where they do not write to the same storage
as this process, StatisticsGen ends without an error and without a file, and the cache would give
the empty artifact to every later run; with ``on_workers`` the node fails, and nothing is cached.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from tfx import types
from tfx.components.statistics_gen.executor import Executor as StatisticsGen
from tfx.components.transform.executor import Executor as Transform
from tfx.dsl.io import fileio
from tfx.types import artifact_utils

from core.config import InputError
from core.origin import DATA_PROPERTY

Artifacts = Mapping[str, Sequence[types.Artifact]]


def on_workers(do: Callable[..., None]) -> Callable[..., None]:
    """Wraps the method ``Do`` of an executor; it raises as ``require_files`` besides."""

    @functools.wraps(do)
    def wrapped(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties) -> None:
        with _absolute_paths(input_dict, output_dict):
            do(self, input_dict, output_dict, exec_properties)
            require_files(output_dict)

    return wrapped


class StatisticsGenExecutor(StatisticsGen):
    """TFX's own, on workers; the statistics also say which data they are of."""

    @on_workers
    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties) -> None:
        super().Do(input_dict, output_dict, exec_properties)
        [examples], [statistics] = input_dict["examples"], output_dict["statistics"]
        if data := examples.get_string_custom_property(DATA_PROPERTY):
            statistics.set_string_custom_property(DATA_PROPERTY, data)


class TransformExecutor(Transform):
    """TFX's own, on workers."""

    Do = on_workers(Transform.Do)


def require_files(outputs: Artifacts) -> None:
    """Checks that Beam's workers wrote where this process reads.

    Args:
        outputs: Artifacts by output; each must hold a file, in each of its splits if it has any.

    Raises:
        InputError: A file is missing.
    """
    for name, artifacts in outputs.items():
        for artifact in artifacts:
            for split in _splits(artifact):
                uri = artifact_utils.get_split_uri([artifact], split) if split else artifact.uri
                if not any(files for _, _, files in fileio.walk(uri)):
                    part = f"split {split} of {name}" if split else name
                    raise InputError(
                        f"Beam's workers reported success but left no file of the {part} in {uri}; "
                        "give them the storage that this process writes to, or leave beam_args at "
                        "its default."
                    )


def _splits(artifact: types.Artifact) -> Sequence[str]:
    names = artifact.split_names if "split_names" in (artifact.PROPERTIES or {}) else ""
    return artifact_utils.decode_split_names(names) if names else [""]


@contextlib.contextmanager
def _absolute_paths(*groups: Artifacts) -> Iterator[None]:
    """Artifacts with absolute paths; those of the metadata come back, as TFX requires."""
    artifacts = [one for group in groups for found in group.values() for one in found]
    paths = [artifact.uri for artifact in artifacts]
    for artifact in artifacts:
        if "://" not in artifact.uri:
            artifact.uri = os.path.abspath(artifact.uri)
    try:
        yield
    finally:
        for artifact, path in zip(artifacts, paths, strict=True):
            artifact.uri = path
