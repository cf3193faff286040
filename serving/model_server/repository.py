"""Which versions of the model there are, and the one that answers.

Contract: the newest version under the base path is loaded, as TensorFlow Serving's default policy
does; loading waits for a first version and retries a failed one. Versions that arrive later are
not picked up yet: start the server anew for them.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from serving.model_server.servable import LoadError, Servable, StatusError
from serving.model_server.versions import newest_version

_LOGGER = logging.getLogger(__name__)
State = get_model_status_pb2.ModelVersionStatus


class Repository:
    """One model and the state of every version of it that was seen."""

    def __init__(self, model_name: str, base_path: Path):
        self._model_name = model_name
        self._base_path = base_path
        self._servable: Servable | None = None
        self._states: dict[int, int] = {}

    def load_newest(self, retries: int, retry_seconds: float, poll_seconds: float) -> Servable:
        """Blocks until the newest version is AVAILABLE; returns it.

        Args:
            retries: Attempts after the first failed one.
            retry_seconds: Pause between attempts.
            poll_seconds: Pause between looks at a base path without a version.

        Raises:
            LoadError: Every attempt failed, or there is no version and ``poll_seconds`` is 0.
        """
        pause = threading.Event()
        while (version := newest_version(self._base_path)) is None:
            missing = f"No versions of servable {self._model_name} found under {self._base_path}"
            if poll_seconds <= 0:
                raise LoadError(missing)
            _LOGGER.warning("%s; name the directory of a version as a whole number", missing)
            pause.wait(poll_seconds)
        for attempt in range(1 + retries):
            self._states[version.number] = State.LOADING
            try:
                self._servable = Servable(self._model_name, version.number, version.path)
            except LoadError as error:
                self._states[version.number] = State.END
                if attempt == retries:
                    raise
                _LOGGER.warning("%s; trying again in %.0f s", error, retry_seconds)
                pause.wait(retry_seconds)
            else:
                break
        self._states[version.number] = State.AVAILABLE
        return self._servable

    def find(self, spec: model_pb2.ModelSpec) -> Servable:
        """The servable that ``spec`` asks for.

        Raises:
            StatusError: INVALID_ARGUMENT without a name or with a label that nobody set,
                NOT_FOUND for a model or version that is not being served.
        """
        if not spec.name:
            raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            raise StatusError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Unrecognized servable version label: {spec.version_label}",
            )
        servable = self._servable
        wanted = f"Latest({spec.name})"
        is_served = servable is not None and spec.name == servable.name
        if choice == "version":
            wanted = f"Specific({spec.name}, {spec.version.value})"
            is_served = is_served and spec.version.value == servable.version
        if not is_served:
            raise StatusError(
                grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}"
            )
        return servable

    def states(self, spec: model_pb2.ModelSpec) -> dict[int, int]:
        """State of every version seen, or of the one that ``spec`` names; a label is ignored.

        Raises:
            StatusError: NOT_FOUND where there is none.
        """
        states = dict(self._states) if spec.name == self._model_name else {}
        if spec.WhichOneof("version_choice") == "version":
            if spec.version.value not in states:
                raise StatusError(
                    grpc.StatusCode.NOT_FOUND,
                    f"Could not find version {spec.version.value} of model {spec.name}",
                )
            return {spec.version.value: states[spec.version.value]}
        if not states:
            raise StatusError(
                grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {spec.name}"
            )
        return states
