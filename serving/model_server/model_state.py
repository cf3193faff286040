"""What a server knows of one model: loaded versions, states, and failures to load.

Contract: nothing here reads or loads a SavedModel; ``repository`` decides what is loaded when.
"""

import dataclasses
import os
import threading
from pathlib import Path

from tensorflow_serving.apis import get_model_status_pb2

from serving.model_server.config import ModelConfig
from serving.model_server.errors import LoadError
from serving.model_server.servable import Servable

State = get_model_status_pb2.ModelVersionStatus


@dataclasses.dataclass(frozen=True)
class Failure:
    """State of the attempts to load a version."""

    attempts: int
    next_time: float  # of time.monotonic()
    error: LoadError
    files: int  # as `fingerprint` saw them before the attempt
    seen: int  # as it saw them last


class Model:
    """One model: its settings, its loaded versions, and the state of every version seen."""

    def __init__(self, config: ModelConfig):
        self.config = config
        self.servables: dict[int, Servable] = {}
        self.states: dict[int, int] = {}
        self.failures: dict[int, Failure] = {}
        self.looking = threading.Lock()  # one look at a time
        self.trouble = ""  # what the last look could not do

    def answers(self, config: ModelConfig) -> bool:
        """Whether a version is loaded that ``config`` allows."""
        allowed = config.versions or self.servables
        return any(self.is_loaded(version, config) for version in allowed)

    def is_loaded(self, version: int, config: ModelConfig) -> bool:
        """Whether the version is loaded, from where ``config`` says."""
        servable = self.servables.get(version)
        return servable is not None and servable.path.parent == config.base_path

    def status(self, version: int) -> tuple[int, str]:
        """Code, as a number, and text of what went wrong with a version."""
        failure = self.failures.get(version)
        if failure is None or self.states.get(version) != State.END:
            return 0, ""
        return failure.error.code.value[0], str(failure.error)


def no_version(model: Model) -> str:
    """Says that a model has no version, and why if that is known."""
    why = f" ({model.trouble})" if model.trouble else ""
    return f"No versions of servable {model.config.name} found under {model.config.base_path}{why}"


def reason(model: Model) -> str:
    """The version of a model that does not answer, and why, in upstream's words."""
    if not model.failures:
        return f"{{name: {model.config.name}}} due to error: {no_version(model)}"
    version = max(model.failures)
    error = model.failures[version].error
    return f"{{name: {model.config.name} version: {version}}} due to error: {error}"


def fingerprint(path: Path) -> int:
    """Changes with the files of a version: names, sizes, contents and rights."""
    found = []
    for folder, _, names in os.walk(path):
        for name in [".", *names]:
            file = os.path.join(folder, name)
            try:
                status = os.stat(file)
            except OSError:
                continue
            found.append((file, status.st_ino, status.st_size, status.st_ctime_ns))
    return hash(tuple(sorted(found)))
