"""The versions of each model, and those that are loaded.

Contract: versions are loaded by each model's policy, a new one before the one it replaces is
unloaded, so that one always answers. Nothing ends the watching: an error of one model leaves what
it has loaded, is logged, and concerns no other model. A failed load is tried again a limited number
of times, then ever more rarely, and at once when the files of the version have changed. Requests
keep their version until they end. Labels follow TensorFlow Serving's rules.
"""

import dataclasses
import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_pb2

from serving.model_server.batching import BatchScheduler
from serving.model_server.config import ModelConfig
from serving.model_server.errors import LoadError, StatusError, code_of, invalid, words_of
from serving.model_server.limits import Limits
from serving.model_server.metrics import Metrics
from serving.model_server.model_state import Failure, Model, State, fingerprint, no_version, reason
from serving.model_server.running import Running
from serving.model_server.servable import Servable
from serving.versions import changed, versions_in

_MOST_DOUBLINGS = 4  # of the pause between attempts to load, after the limited number of them
_LOGGER = logging.getLogger(__name__)


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
        running: Running | None = None,
        fault: Callable[[Path, str, int], str] = lambda path, *_: changed(path),
    ):
        """Nothing is loaded yet.

        Args:
            models: What is served.
            retries: Attempts after the first failed one, for each version, until its state is END.
            retry_seconds: Pause between them; it doubles with each attempt after those.
            unavailable_labels: Whether a label may name a version that is not served yet.
            warm_up: Whether a version's warm-up requests are run before it answers.
            metrics: Where attempts to load are counted.
            scheduler: Batches concurrent requests; None runs each by itself.
            limits: Bounds of one request.
            running: Where the work of requests is entered.
            fault: Says why a version must not be loaded, from its directory, model and number;
                empty if it may. Loading runs what is in the files, so it is called before.

        Raises:
            StatusError: A label names a version that is not served.
        """
        self._retries, self._retry_seconds = retries, retry_seconds
        self._unavailable_labels, self._warm_up = unavailable_labels, warm_up
        self._metrics = metrics or Metrics()
        self._scheduler, self._limits = scheduler, limits
        self._running = running or Running()
        self._fault = fault
        self._lock = threading.RLock()  # of what requests read
        self._loading = threading.Lock()  # one load at a time: TensorFlow's is not made for more
        self._models: dict[str, Model] = {}
        self._unloaded: list[weakref.ref[Servable]] = []  # whose graphs may still be in memory
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
                model = self._models.get(config.name) or Model(config)
                if model.config.base_path != config.base_path:
                    model.failures.clear()
                model.config = config
                kept[config.name] = model
            for name in set(self._models) - set(kept):
                self._unloaded += map(weakref.ref, self._models[name].servables.values())
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
                if not model.failures:
                    words = no_version(model)
                    if poll_seconds <= 0:
                        raise LoadError(words)
                    if words not in said:
                        said.add(words)
                        hint = "name the directory of a version as a whole number"
                        _LOGGER.warning("%s; %s", words, hint)
                elif all(f.attempts > self._retries for f in model.failures.values()):
                    newest = model.failures[max(model.failures)]
                    raise LoadError(
                        f"no version of {model.config.name} could be loaded: {newest.error}"
                    )
            time.sleep(min(poll_seconds or 1.0, 1.0, max(self._retry_seconds, 0.05)))

    def poll(self) -> None:
        """Looks for versions once: loads the wanted ones, then unloads the others."""
        for model in self._all():
            self._look(model)
        self._free()

    def watch(self, seconds: float, stop: threading.Event) -> None:
        """Looks every ``seconds`` until ``stop`` is set.

        Each model has a thread of its own, so that storage that hangs holds up no other model.
        """
        while not stop.wait(seconds):
            try:
                for model in self._all():
                    if not model.looking.locked():
                        threading.Thread(target=self._look, args=(model,), daemon=True).start()
                self._free()
            except Exception as error:  # noqa: BLE001 - such as no room for a thread now
                _LOGGER.error("Cannot look for versions: %s", words_of(error))

    def reload(self, models: Sequence[ModelConfig]) -> None:
        """``configure``, then one attempt for all that is to be loaded.

        Raises:
            StatusError: As ``configure``; UNKNOWN, in upstream's words, if a model does not answer
                with a version of this configuration. The configuration stays: the attempts go on.
        """
        self.configure(models)
        for model in self._all():
            model.failures.clear()
        self.poll()
        failed = [model for model in self._all() if not model.answers(model.config)]
        if failed:
            words = "".join(f"{{{reason(model)}}}, " for model in failed)
            raise StatusError(
                grpc.StatusCode.UNKNOWN,
                f"{len(failed)} servable(s) did not become available: {{{words}}}",
            )

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

    def status(self, spec: model_pb2.ModelSpec) -> get_model_status_pb2.GetModelStatusResponse:
        """State of every version seen, or of the one that ``spec`` names; a label is ignored.

        A version that could not be loaded is in the state END, with the error.

        Raises:
            StatusError: NOT_FOUND where there is none.
        """
        response = get_model_status_pb2.GetModelStatusResponse()
        with self._lock:
            model = self._models.get(spec.name)
            states = {}
            if model:
                states = {v: (state, *model.status(v)) for v, state in model.states.items()}
            what = f"any versions of model {spec.name}"
            if spec.WhichOneof("version_choice") == "version":
                version = spec.version.value
                what = f"version {version} of model {spec.name}"
                states = {version: states[version]} if version in states else {}
        if not states:
            raise StatusError(grpc.StatusCode.NOT_FOUND, f"Could not find {what}")
        for version, (state, code, text) in sorted(states.items()):
            added = response.model_version_status.add(version=version, state=state)
            added.status.SetInParent()
            added.status.error_code, added.status.error_message = code, text
        return response

    def _all(self) -> list[Model]:
        with self._lock:
            return list(self._models.values())

    def _look(self, model: Model) -> None:
        """One look at one model; an error leaves what is loaded."""
        with model.looking:
            try:
                self._update(model)
                model.trouble = ""
            except Exception as error:  # noqa: BLE001 - storage fails in many ways, for a while
                words = getattr(error, "strerror", None) or words_of(error)
                if words != model.trouble:
                    config = model.config
                    _LOGGER.error(
                        "Cannot look for versions of %s in %s: %s",
                        config.name,
                        config.base_path,
                        words,
                    )
                model.trouble = words

    def _update(self, model: Model) -> None:
        config = model.config
        found = {version.number: version.path for version in versions_in(config.base_path)}
        wanted = config.wanted(sorted(found))
        for version in reversed(wanted):
            if not model.is_loaded(version, config):
                self._load(model, config, version, found[version])
        with self._lock:
            kept = {version for version in wanted if model.is_loaded(version, config)}
            for version in sorted(set(model.servables) - kept):
                # The old one goes when a new one answers, or when all files are gone.
                if kept or (not found and model.is_loaded(version, config)):
                    self._unload(model, version)
                    model.states[version] = State.END
                    _LOGGER.info("Unloaded %s version %d", config.name, version)
        for version in set(model.failures) - set(wanted):
            self._set_state(model, version, State.END)
            if version not in found:
                del model.failures[version]

    def _unload(self, model: Model, version: int) -> None:
        """Takes a version out; requests that hold it still end."""
        self._unloaded.append(weakref.ref(model.servables[version]))
        del model.servables[version]

    def _free(self) -> None:
        """Frees the graphs of versions that were unloaded, once no request holds them any longer.

        TensorFlow's functions are in circles, and the collector runs rarely in this process.
        """
        with self._lock:
            held = [servable for servable in self._unloaded if servable() is not None]
            is_any_gone = len(held) < len(self._unloaded)
            self._unloaded = held
        if is_any_gone:
            gc.collect()

    def _load(self, model: Model, config: ModelConfig, version: int, path: Path) -> None:
        """One attempt, if it is time for one."""
        before = model.failures.get(version)
        files = fingerprint(path)
        if before and time.monotonic() < before.next_time:
            # Files that still change are those of a copy that goes on.
            if files != before.seen or files == before.files:
                model.failures[version] = dataclasses.replace(before, seen=files)
                return
            before = None
        self._set_state(model, version, State.LOADING)
        try:
            if what := self._fault(path, config.name, version):
                raise LoadError(f"{path} is not loaded: {what}", grpc.StatusCode.DATA_LOSS)
            with self._loading:
                began = time.monotonic()
                servable = Servable(
                    config.name,
                    version,
                    path,
                    self._scheduler,
                    self._limits,
                    self._running,
                    self._metrics,
                )
                seconds = time.monotonic() - began
            if self._warm_up:
                servable.warm_up(path)
        except Exception as error:  # noqa: BLE001 - files of others, in every state
            self._failed(model, version, path, before, files, error)
            return
        self._metrics.loaded(str(path), seconds)
        with self._lock:
            model.failures.pop(version, None)
            if version in model.servables:  # from another base_path
                self._unload(model, version)
            model.servables[version] = servable
            model.states[version] = State.AVAILABLE
        _LOGGER.info("Loaded %s version %d", config.name, version)

    def _failed(
        self,
        model: Model,
        version: int,
        path: Path,
        before: Failure | None,
        files: int,
        error: Exception,
    ) -> None:
        self._metrics.not_loaded(str(path))
        if not isinstance(error, LoadError):
            error = LoadError(f"{path}: {words_of(error)}", code_of(error))
        attempts = before.attempts + 1 if before else 1
        doublings = min(max(attempts - self._retries - 1, 0), _MOST_DOUBLINGS)
        next_time = time.monotonic() + self._retry_seconds * 2**doublings
        model.failures[version] = Failure(attempts, next_time, error, files, files)
        if attempts > self._retries:
            self._set_state(model, version, State.END)
        _LOGGER.error("%s", error)

    def _set_state(self, model: Model, version: int, state: int) -> None:
        """Sets the state of a version that does not answer."""
        with self._lock:
            if version not in model.servables:
                model.states[version] = state
