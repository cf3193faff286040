"""The versions of each model, and those that are loaded.

Contract: versions are loaded by each model's policy, a new one before the one it replaces is
unloaded, so that one always answers; a failed load is retried a limited number of times. Requests
keep their version until they end. Labels follow TensorFlow Serving's rules.
"""

import dataclasses
import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from serving.model_server.batching import BatchScheduler
from serving.model_server.config import ModelConfig
from serving.model_server.errors import LoadError, StatusError, invalid
from serving.model_server.limits import Limits
from serving.model_server.metrics import Metrics
from serving.model_server.servable import Servable
from serving.versions import list_versions

_LOGGER = logging.getLogger(__name__)
State = get_model_status_pb2.ModelVersionStatus


class _Model:
    """One model: its settings, its loaded versions, and the state of every version seen."""

    def __init__(self, config: ModelConfig):
        self.config = config
        self.servables: dict[int, Servable] = {}
        self.states: dict[int, int] = {}
        self.failures: dict[int, _Failure] = {}


@dataclasses.dataclass(frozen=True)
class _Failure:
    """State of the attempts to load a version."""

    attempts: int
    next_time: float  # of time.monotonic()
    reason: str


class Repository:
    """The models of one server."""

    def __init__(
        self,
        models: Sequence[ModelConfig],
        retries: int = 5,
        retry_seconds: float = 60.0,
        unavailable_labels: bool = False,
        warm_up: bool = True,
        metrics: Metrics | None = None,
        scheduler: BatchScheduler | None = None,
        limits: Limits = Limits(),  # noqa: B008 - it cannot change
    ):
        """Nothing is loaded yet.

        Args:
            models: What is served.
            retries: Attempts after the first failed one, for each version.
            retry_seconds: Pause between them.
            unavailable_labels: Whether a label may name a version that is not served yet.
            warm_up: Whether a version's warm-up requests are run before it answers.
            metrics: Where attempts to load are counted.
            scheduler: Batches concurrent requests; None runs each by itself.
            limits: Bounds of one request.

        Raises:
            StatusError: A label names a version that is not served.
        """
        self._retries, self._retry_seconds = retries, retry_seconds
        self._unavailable_labels, self._warm_up = unavailable_labels, warm_up
        self._metrics = metrics or Metrics()
        self._scheduler, self._limits = scheduler, limits
        self._lock = threading.RLock()  # of what requests read
        self._loading = threading.Lock()  # one poll at a time
        self._models: dict[str, _Model] = {}
        self.configure(models)

    def configure(self, models: Sequence[ModelConfig]) -> None:
        """Replaces the served models; loaded versions stay loaded.

        Raises:
            StatusError: FAILED_PRECONDITION if a label names a version that is not served;
                nothing has changed then.
        """
        with self._lock:
            for config in models:
                old = self._models.get(config.name)
                known = old.config.labels if old else {}
                served = old.servables if old else {}
                for label, version in config.labels.items():
                    is_new = label not in known
                    if version in served or (self._unavailable_labels and is_new):
                        continue
                    if known.get(label) != version:
                        raise StatusError(
                            grpc.StatusCode.FAILED_PRECONDITION,
                            f"Request to assign label to version {version} of model {config.name}, "
                            "which is not currently available for inference",
                        )
            kept = {}
            for config in models:
                model = self._models.get(config.name)
                if model is None or model.config.base_path != config.base_path:
                    model = _Model(config)
                model.config = config
                kept[config.name] = model
            self._models = kept

    def start(self, poll_seconds: float) -> list[Servable]:
        """Blocks until every model has a version that answers; returns the newest of each.

        Args:
            poll_seconds: Interval between checks; 0 gives up if there is no version.

        Raises:
            LoadError: Every attempt to load a model failed, or it has no version and is not
                waited for.
        """
        said: set[str] = set()
        while True:
            self.poll()
            with self._lock:
                missing = [model for model in self._models.values() if not model.servables]
            if not missing:
                return [self.find(model_pb2.ModelSpec(name=name)) for name in self._models]
            for model in missing:
                name, path = model.config.name, model.config.base_path
                if not model.states:
                    words = f"No versions of servable {name} found under {path}"
                    if poll_seconds <= 0:
                        raise LoadError(words)
                    if name not in said:
                        said.add(name)
                        hint = "name the directory of a version as a whole number"
                        _LOGGER.warning("%s; %s", words, hint)
                elif all(f.attempts > self._retries for f in model.failures.values()):
                    newest = model.failures[max(model.failures)]
                    raise LoadError(f"no version of {name} could be loaded: {newest.reason}")
            time.sleep(min(poll_seconds or 1.0, 1.0, max(self._retry_seconds, 0.05)))

    def poll(self) -> None:
        """Looks for versions once: loads the wanted ones, then unloads the others."""
        with self._loading:
            for model in list(self._models.values()):
                found = {v.number: v.path for v in list_versions(model.config.base_path)}
                wanted = model.config.wanted(sorted(found))
                for version in reversed(wanted):
                    if version not in model.servables:
                        self._load(model, version, found[version])
                with self._lock:
                    is_served = any(version in model.servables for version in wanted)
                    for version in list(model.servables):
                        # The old one goes when a new one answers, or when its files are gone.
                        if version not in wanted and (is_served or not found):
                            del model.servables[version]
                            model.states[version] = State.END
                            _LOGGER.info("Unloaded %s version %d", model.config.name, version)

    def find(self, spec: model_pb2.ModelSpec) -> Servable:
        """The servable for ``spec``.

        Raises:
            StatusError: INVALID_ARGUMENT without a name or with an unknown label,
                NOT_FOUND for a model or version that is not being served.
        """
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        with self._lock:
            model = self._models.get(spec.name)
            served = model.servables if model else {}
            choice = spec.WhichOneof("version_choice")
            wanted = f"Latest({spec.name})"
            version = max(served, default=None)
            if choice == "version":
                version = spec.version.value
            elif choice == "version_label":
                labels = model.config.labels if model else {}
                if spec.version_label not in labels:
                    raise invalid(f"Unrecognized servable version label: {spec.version_label}")
                version = labels[spec.version_label]
            if choice:
                wanted = f"Specific({spec.name}, {version})"
            if version not in served:
                raise StatusError(
                    grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}"
                )
            return served[version]

    def knows(self, name: str) -> bool:
        """Whether a model of this name is configured, loaded or not."""
        return name in self._models

    def states(self, spec: model_pb2.ModelSpec) -> dict[int, int]:
        """State of every version seen, or of the one that ``spec`` names; a label is ignored.

        Raises:
            StatusError: NOT_FOUND where there is none.
        """
        with self._lock:
            model = self._models.get(spec.name)
            states = dict(model.states) if model else {}
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

    def _load(self, model: _Model, version: int, path: Path) -> None:
        """One attempt, if it is time for one."""
        failure = model.failures.get(version, _Failure(0, 0.0, ""))
        if failure.attempts > self._retries or time.monotonic() < failure.next_time:
            return
        model.states[version] = State.LOADING
        try:
            servable = Servable(model.config.name, version, path, self._scheduler, self._limits)
            if self._warm_up:
                servable.warm_up(path)
        except LoadError as error:
            self._metrics.load(str(path), "fail")
            model.states[version] = State.END
            next_time = time.monotonic() + self._retry_seconds
            model.failures[version] = _Failure(failure.attempts + 1, next_time, str(error))
            _LOGGER.error("%s", error)
            return
        self._metrics.load(str(path), "success")
        with self._lock:
            model.failures.pop(version, None)
            model.servables[version] = servable
            model.states[version] = State.AVAILABLE
        _LOGGER.info("Loaded %s version %d", model.config.name, version)
