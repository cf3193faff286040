"""Argo: which task starts when, and which pod gets another attempt."""

import concurrent.futures
import dataclasses
import graphlib
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.kubeflow_backend import driver
from benchmarks.kubeflow_backend.api import (
    load,
    needs,
    root_parameters,
    settings_of,
    without_macros,
)
from benchmarks.kubeflow_backend.launcher import Loss, Pod, in_pod, pod_folder
from benchmarks.kubeflow_backend.state import Metadata, ObjectStore, Root, Run, Task

DEFAULT_ROOT = "minio://mlpipeline/v2/artifacts"  # of v2/config/env.go, without kfp-launcher


class Backend:
    """A KFP backend whose state, store and cache lie in ``folder``."""

    def __init__(
        self, folder: Path, workers: int = 2, kfp: str = "2.17", default_root: str = DEFAULT_ROOT
    ):
        """Makes an empty one.

        Args:
            folder: For everything it keeps.
            workers: Number of pods at one time.
            kfp: Version whose rules hold, from 2.5 on.
            default_root: ``defaultPipelineRoot`` of the ConfigMap kfp-launcher.
        """
        self.folder, self.workers, self.default_root = folder, workers, default_root
        self.kfp = tuple(int(number) for number in kfp.split("."))
        self.store = ObjectStore(folder / "bucket")
        self.metadata = Metadata()
        self.cache: dict[tuple[str, str, str], Task] = {}  # namespace, pipeline, cache key

    @property
    def artifacts(self) -> list[dict[str, Any]]:
        """All artifacts as metadata gives them; the index is the id."""
        return self.metadata.artifacts

    def run(
        self,
        package: Path,
        arguments: dict[str, Any] | None = None,
        lose: Callable[[str, int], Loss | None] = lambda task, attempt: None,
        pipeline_root: str = "",
        namespace: str = "kubeflow",
    ) -> Run:
        """Runs a compiled pipeline.

        Args:
            package: The YAML file.
            arguments: Values of run parameters.
            lose: Called with a task's name and the number of the attempt, from 1; what befalls the
                pod. None lets it end by itself.
            pipeline_root: Of the run; without one, that of kfp-launcher. The root in the package is
                not read (driver/root_dag.go:97-114 of 2.16.1).
            namespace: Of the run; results are kept for each apart.

        Raises:
            ValueError: What the API server would refuse.
        """
        spec, platform = load(package)
        run_id = str(uuid.uuid4())
        given = without_macros(arguments or {}, run_id, self.kfp)
        parameters = root_parameters(spec, given)
        tasks = spec["root"]["dag"]["tasks"]
        root = pipeline_root or self.default_root
        where = f"{root.rstrip('/')}/{spec['pipelineInfo']['name']}/{run_id}"
        run = Run(run_id, where, {name: Task(name) for name in tasks})
        begin, failed = time.monotonic(), False
        order = graphlib.TopologicalSorter({name: needs(task) for name, task in tasks.items()})
        order.prepare()
        with concurrent.futures.ThreadPoolExecutor(self.workers) as pool:
            running: dict[concurrent.futures.Future, str] = {}
            while order.is_active():
                for name in () if failed else order.get_ready():
                    scene = _Scene(spec, platform, parameters, run, begin, lose, namespace)
                    running[pool.submit(self._run_task, name, scene)] = name
                if not running:
                    break
                finished, _ = concurrent.futures.wait(
                    running, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in finished:
                    order.done(running.pop(future))
                    failed |= future.result().state == "FAILED"
        return run

    def _run_task(self, name: str, scene: "_Scene") -> Task:
        """The driver, and pods until one succeeds or Argo gives up."""
        spec, result = scene.spec, scene.run.tasks[name]
        task = spec["root"]["dag"]["tasks"][name]
        component = spec["components"][task["componentRef"]["name"]]
        label = component["executorLabel"]
        container = spec["deploymentSpec"]["executors"][label]["container"]
        result.started = time.monotonic() - scene.begin
        state = "FAILED"
        try:
            request = driver.executor_input(
                spec, name, scene.run, scene.parameters, self.metadata, self.kfp
            )
            fingerprint = driver.cache_key(
                request, component, container, settings_of(scene.platform, label)
            )
            key = (scene.namespace, spec["pipelineInfo"]["name"], fingerprint)
            is_cached = task.get("cachingOptions", {}).get("enableCache", False)
            if is_cached and key in self.cache:
                kept = self.cache[key]
                result.outputs, result.parameters, state = kept.outputs, kept.parameters, "CACHED"
            elif self._succeeds(result, request, task, component, container, scene):
                state = "SUCCEEDED"
                if is_cached:
                    self.cache[key] = result
        except Exception as error:  # noqa: BLE001 - any error fails the task
            result.log += f"\nbackend: {type(error).__name__}: {error}"
        finally:
            result.ended = time.monotonic() - scene.begin
            result.state = state
        return result

    def _succeeds(self, result: Task, request, task, component, container, scene) -> bool:
        """Starts a pod, and others after it by ``processNodeRetries`` of Argo's operator.go."""
        root, retries = Root.parse(scene.run.root), retries_of(task, self.kfp)
        while True:
            result.attempts += 1
            folder = pod_folder(self.folder, result.name)
            pod = Pod(
                folder=folder,
                request=in_pod(request, folder, result.attempts, self.kfp),
                component=component,
                container=container,
                root=root,
                store=self.store,
                metadata=self.metadata,
                kfp=self.kfp,
            )
            phase = pod.run(result, scene.lose(result.name, result.attempts))
            if phase == "Succeeded":
                return True
            if phase != retries.phase or result.attempts > retries.limit:
                return False
            result.waited += retries.backoff * retries.factor ** (result.attempts - 1)


@dataclasses.dataclass(frozen=True)
class _Scene:
    """What every task of a run is started with."""

    spec: dict[str, Any]
    platform: dict[str, Any]
    parameters: dict[str, Any]
    run: Run
    begin: float
    lose: Callable[[str, int], Loss | None]
    namespace: str


@dataclasses.dataclass(frozen=True)
class Retries:
    """``retryStrategy`` of a task's pods."""

    limit: int  # attempts after the first
    phase: str  # the one that is tried again; the other is final
    backoff: float = 0.0  # seconds before the first of them
    factor: float = 1.0


def retries_of(task: dict[str, Any], kfp: tuple[int, ...]) -> Retries:
    """The task's own policy, laid over the default of the Argo that KFP installs.

    The own one names no ``retryPolicy`` (argocompiler/container.go:667-687 of 2.17.0), which Argo
    takes for OnFailure. KFP 2.17 sets ``templateDefaults.retryStrategy`` with ``limit: 2`` and
    ``retryPolicy: OnError`` (workflow-controller-configmap-patch.yaml:56-59), which Argo merges in,
    field by field (``mergedTemplateDefaultsInto``).
    """
    phase, limit = ("Error", 2) if kfp >= (2, 17) else ("Failed", 0)
    policy = task.get("retryPolicy")
    if policy is None:
        return Retries(limit, phase)
    backoff = float(policy.get("backoffDuration", "0s").removesuffix("s"))
    factor = int(policy.get("backoffFactor", 0)) or 1  # no growth by 0: operator.go
    return Retries(allowed_retries(task), phase, backoff, factor)


def allowed_retries(task: dict[str, Any]) -> int:
    """Attempts after the first by the task's own policy.

    None without a longest duration, for which the compiler then writes 0.
    """
    policy = task.get("retryPolicy", {})
    longest = float(policy.get("backoffMaxDuration", "0s").removesuffix("s"))
    return policy.get("maxRetryCount", 0) if longest else 0
