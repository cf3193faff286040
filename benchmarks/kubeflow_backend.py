"""The contract of KFP 2.16's backend on one machine: a folder for the store, a process per task.

It imitates, each from the Go source: the driver (parameters and their defaults, artifacts looked up
in metadata that keep no type and no integer, new URIs, the cache key), the launcher (download by
bare prefix, ``{{$}}``, strict ExecutorOutput, upload, metadata without nulls) and Argo (tasks as
soon as they can, retries, no new task after a failure). Every task is a process of its own with a
root folder of its own, deleted afterwards, so only artifacts pass. Conditions are refused, as the
pipeline has none: a model that is not approved is a verdict.
"""

import concurrent.futures
import dataclasses
import graphlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

CHECKOUT = Path(__file__).resolve().parents[1]
SCHEMES = {"gs": "gcs", "minio": "minio", "s3": "s3"}
OUTPUTS = "/tmp/kfp/outputs"  # noqa: S108 - of a pod, under its own root
LONGEST_ARGUMENT = 128 * 1024  # bytes; MAX_ARG_STRLEN of Linux


@dataclasses.dataclass
class Task:
    """The state of a task in one run."""

    name: str
    state: str = "PENDING"  # SUCCEEDED, CACHED, FAILED, or still PENDING if it never started
    attempts: int = 0
    started: float = 0.0  # seconds since the start of the run
    ended: float = 0.0
    cpu_seconds: float = 0.0  # of the last attempt
    peak_bytes: int = 0  # of its largest process
    log: str = ""
    outputs: dict[str, int] = dataclasses.field(default_factory=dict)  # ids in metadata
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)  # output parameters


@dataclasses.dataclass
class Run:
    """One run: its id and its tasks by name."""

    id: str
    tasks: dict[str, Task]

    @property
    def succeeded(self) -> bool:
        return all(task.state in ("SUCCEEDED", "CACHED") for task in self.tasks.values())

    def states(self) -> dict[str, str]:
        return {name: task.state for name, task in self.tasks.items()}


class ObjectStore:
    """Objects by key, without directories, as S3 has them; kept as files in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def upload(self, local: Path, key: str) -> None:
        """``UploadBlob``: a file, or every file below a folder; empty folders leave no trace."""
        files = [local] if local.is_file() else [p for p in local.rglob("*") if p.is_file()]
        for path in files:
            relative = path.relative_to(local).as_posix()
            target = self.folder / (key if relative == "." else f"{key}/{relative}")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

    def download(self, key: str, local: Path) -> None:
        """``DownloadBlob`` of 2.16.1: by bare prefix, so with ``model`` comes ``model_run``."""
        parent = self.folder / Path(key).parent
        for path in parent.rglob("*") if parent.is_dir() else ():
            full = path.relative_to(self.folder).as_posix()
            if path.is_file() and full.startswith(key):
                target = Path(os.path.normpath(local / os.path.relpath(full, key)))
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)


class Backend:
    """A KFP backend whose state, store and cache lie in ``folder``."""

    def __init__(self, folder: Path, workers: int = 2):
        self.folder, self.workers = folder, workers
        self.store = ObjectStore(folder / "bucket")
        self.artifacts: list[dict[str, Any]] = []  # metadata store; the index is the id
        self.cache: dict[str, Task] = {}  # by fingerprint, with its outputs
        self._lock = threading.Lock()

    def run(
        self,
        package: Path,
        arguments: dict[str, str] | None = None,
        evict: Callable[[str, int], float | None] = lambda task, attempt: None,
    ) -> Run:
        """Runs a compiled pipeline.

        Args:
            package: The YAML file.
            arguments: Values of run parameters.
            evict: Called with a task's name and the number of the attempt, from 1; the pod is
                killed after so many seconds. None never kills it.

        Raises:
            ValueError: What the API server would refuse.
        """
        spec, platform = load(package)
        parameters = root_parameters(spec, arguments or {})
        tasks = spec["root"]["dag"]["tasks"]
        run = Run(str(uuid.uuid4()), {name: Task(name) for name in tasks})
        begin, failed = time.monotonic(), False
        order = graphlib.TopologicalSorter({name: needs(task) for name, task in tasks.items()})
        order.prepare()
        with concurrent.futures.ThreadPoolExecutor(self.workers) as pool:
            running: dict[concurrent.futures.Future, str] = {}
            while order.is_active():
                for name in () if failed else order.get_ready():
                    given = (spec, platform, name, parameters, run, begin, evict)
                    running[pool.submit(self._run_task, *given)] = name
                if not running:
                    break
                finished, _ = concurrent.futures.wait(
                    running, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in finished:
                    order.done(running.pop(future))
                    failed |= future.result().state == "FAILED"
        return run

    def _run_task(self, spec, platform, name, parameters, run, begin, evict) -> Task:
        task, result = spec["root"]["dag"]["tasks"][name], run.tasks[name]
        component = spec["components"][task["componentRef"]["name"]]
        label = component["executorLabel"]
        container = spec["deploymentSpec"]["executors"][label]["container"]
        settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][label]
        result.started = time.monotonic() - begin
        state = "FAILED"
        try:
            request = self._driver(spec, component, task, name, parameters, run)
            key = fingerprint(request, component, container, settings)
            is_cached = task.get("cachingOptions", {}).get("enableCache", False)
            if is_cached and key in self.cache:
                kept = self.cache[key]
                result.outputs, result.parameters, state = kept.outputs, kept.parameters, "CACHED"
                return result
            retries = allowed_retries(task)
            for attempt in range(1, retries + 2):
                result.attempts = attempt
                if self._launcher(request, component, container, result, evict(name, attempt)):
                    state = "SUCCEEDED"
                    if is_cached:
                        self.cache[key] = result
                    break
        except Exception as error:  # noqa: BLE001 - any error fails the task
            result.log += f"\nbackend: {type(error).__name__}: {error}"
        finally:
            result.ended = time.monotonic() - begin
            result.state = state
        return result

    def _driver(self, spec, component, task, name, parameters, run) -> dict[str, Any]:
        """ExecutorInput as protojson writes it; ``driver/{container,resolve,driver}.go``."""
        inputs: dict[str, Any] = {"parameterValues": {}, "artifacts": {}}
        given = task.get("inputs", {})
        for key, source in given.get("parameters", {}).items():
            if "componentInputParameter" in source:
                value = parameters[source["componentInputParameter"]]
            elif "taskOutputParameter" in source:
                source = source["taskOutputParameter"]
                producer = run.tasks[source["producerTask"]]
                value = producer.parameters[source["outputParameterKey"]]
            else:
                value = source["runtimeValue"]["constant"]
                value = run.id if value == "{{$.pipeline_job_uuid}}" else value
            declared = component["inputDefinitions"]["parameters"][key]["parameterType"]
            is_number = declared.startswith("NUMBER")
            if isinstance(value, str) == is_number:
                raise ValueError(f"parameter {key} of {name} is not a {declared}: {value!r}")
            inputs["parameterValues"][key] = value
        for key, source in given.get("artifacts", {}).items():
            source = source["taskOutputArtifact"]
            producer = run.tasks[source["producerTask"]]
            artifact_id = producer.outputs[source["outputArtifactKey"]]
            inputs["artifacts"][key] = {"artifacts": [self._runtime_artifact(artifact_id)]}
        task_root = (
            f"{parameters['']}/{spec['pipelineInfo']['name']}/{run.id}/{name}/{uuid.uuid4()}"
        )
        outputs = {
            key: {
                "artifacts": [
                    {"name": key, "uri": f"{task_root}/{key}", "type": artifact["artifactType"]}
                ]
            }
            for key, artifact in component.get("outputDefinitions", {}).get("artifacts", {}).items()
        }
        written = component.get("outputDefinitions", {}).get("parameters", {})
        files = {key: {"outputFile": f"{OUTPUTS}/{key}"} for key in written}
        return {
            "inputs": inputs,
            "outputs": {"artifacts": outputs, "parameters": files, "outputFile": task_root},
        }

    def _runtime_artifact(self, artifact_id: int) -> dict[str, Any]:
        """``toRuntimeArtifact``: no type, every property in ``metadata``, integers as doubles."""
        known = self.artifacts[artifact_id]
        extra = {"display_name": known["name"], "store_session_info": '{"Provider":"minio"}'}
        return {
            "name": str(artifact_id),
            "uri": known["uri"],
            "type": {"instanceSchema": ""},
            "metadata": {**known["metadata"], **extra},
        }

    def _launcher(self, request, component, container, result, seconds) -> bool:
        """Whether the user's command succeeded; ``component/launcher_v2.go``."""
        root = self.folder / "pods" / f"{result.name}-{uuid.uuid4().hex[:8]}"
        for name in ("tmp", "home", "work"):
            (root / name).mkdir(parents=True)
        request = json.loads(json.dumps(request))
        for found in request["inputs"]["artifacts"].values():
            for artifact in found["artifacts"]:
                self.store.download(*self._key_and_path(artifact["uri"], root))
        for found in request["outputs"]["artifacts"].values():
            for artifact in found["artifacts"]:
                _, path = self._key_and_path(artifact["uri"], root)
                path.parent.mkdir(parents=True, exist_ok=True)
        for output in request["outputs"]["parameters"].values():
            output["outputFile"] = str(root) + output["outputFile"]
            Path(output["outputFile"]).parent.mkdir(parents=True, exist_ok=True)
        # Since 2.15 the output file is next to the outputs, under the launcher's own path.
        _, task_root = self._key_and_path(request["outputs"]["outputFile"], root)
        request["outputs"]["outputFile"] = str(task_root / "output_metadata.json")
        words = [
            word.replace("{{$}}", json.dumps(request))
            for word in [*container["command"], *container["args"]]
        ]
        for word in words:
            if len(word.encode()) >= LONGEST_ARGUMENT:
                raise ValueError("Argument list too long")
        process = subprocess.Popen(
            words,
            cwd=root / "work",
            env=environment(root, container),
            text=True,
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        killer = threading.Timer(seconds or 0, os.killpg, (process.pid, signal.SIGKILL))
        if seconds is not None:
            killer.start()
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        killer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        result.cpu_seconds = usage.ru_utime + usage.ru_stime
        result.peak_bytes = usage.ru_maxrss * 1024
        result.log += output
        try:
            if process.returncode:
                result.log += f"\nbackend: exit status {process.returncode}"
                return False
            self._publish(request, component, root, result)
            return True
        finally:
            shutil.rmtree(root, ignore_errors=True)

    def _publish(self, request, component, root, result) -> None:
        output_file = Path(request["outputs"]["outputFile"])
        # A missing file is an empty answer: getExecutorOutputFile.
        text = output_file.read_text() if output_file.exists() else "{}"
        answer = json_format.Parse(text, pb.ExecutorOutput())
        result.parameters = output_parameters(request, component, answer)
        for name, found in request["outputs"]["artifacts"].items():
            [artifact] = found["artifacts"]
            metadata = struct_pb2.Struct()
            for said in answer.artifacts[name].artifacts[:1]:
                artifact["uri"] = said.uri or artifact["uri"]
                metadata.update(said.metadata)
            key, path = self._key_and_path(artifact["uri"], root)
            if path.exists():
                self.store.upload(path, key)
            if any(v.WhichOneof("kind") in (None, "null_value") for v in metadata.fields.values()):
                raise ValueError(f"unknown value type in the metadata of {name}")
            record = {
                "name": name,
                "uri": artifact["uri"],
                "metadata": json_format.MessageToDict(metadata),
            }
            with self._lock:
                result.outputs[name] = len(self.artifacts)
                self.artifacts.append(record)

    def _key_and_path(self, uri: str, root: Path) -> tuple[str, Path]:
        scheme, _, rest = uri.partition("://")
        if scheme not in SCHEMES:
            raise ValueError(f"unsupported storage scheme in {uri}")
        return f"{scheme}/{rest}", root / SCHEMES[scheme] / rest


def load(package: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Both documents of a package, refused as ``template.go`` and ``visitor.go`` refuse them."""
    spec, platform = yaml.safe_load_all(package.read_text())
    json_format.ParseDict(spec, pb.PipelineSpec())
    json_format.ParseDict(platform, pb.PlatformSpec())
    if spec["schemaVersion"] != "2.1.0":
        raise ValueError(f"unsupported schema version {spec['schemaVersion']}")
    for label, executor in spec["deploymentSpec"]["executors"].items():
        if set(executor) != {"container"}:
            raise ValueError(f"{label}: non-container executor not implemented")
        if "lifecycle" in executor["container"]:
            raise ValueError(f"{label}: a lifecycle hook is never executed")
    for name, task in spec["root"]["dag"]["tasks"].items():
        if "triggerPolicy" in task:
            raise NotImplementedError(f"{name} has a condition, which is not imitated")
    return spec, platform


def root_parameters(spec: dict[str, Any], arguments: dict[str, str]) -> dict[str, str]:
    """Values of all run parameters; the pipeline root stands under "" among them."""
    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name in arguments:
        if name not in declared:
            raise ValueError(f"parameter {name} is not among the inputs of the pipeline")
    values = {"": spec["defaultPipelineRoot"]}
    for name, parameter in declared.items():
        if name not in arguments and "defaultValue" not in parameter:
            raise ValueError(f"parameter {name} has no value")
        values[name] = arguments.get(name, parameter.get("defaultValue"))
    return values


def allowed_retries(task: dict[str, Any]) -> int:
    """Attempts after the first: none without a longest duration, which Argo then takes for 0."""
    policy = task.get("retryPolicy", {})
    longest = int(policy.get("backoffMaxDuration", "0s").removesuffix("s"))
    return policy.get("maxRetryCount", 0) if longest else 0


def needs(task: dict[str, Any]) -> list[str]:
    """Names of the tasks that must have ended before ``task``."""
    inputs = task.get("inputs", {})
    sources = [*inputs.get("artifacts", {}).values(), *inputs.get("parameters", {}).values()]
    kinds = ("taskOutputArtifact", "taskOutputParameter")
    producers = [s[kind]["producerTask"] for s in sources for kind in kinds if kind in s]
    return [*task.get("dependentTasks", []), *producers]


def output_parameters(request, component, answer) -> dict[str, Any]:
    """``collectOutputParameters``: the values in the answer go before those in files."""
    values = json_format.MessageToDict(answer).get("parameterValues", {})
    declared = component.get("outputDefinitions", {}).get("parameters", {})
    for name, output in request["outputs"]["parameters"].items():
        if name not in values:
            text = Path(output["outputFile"]).read_text()  # that there is none is an error
            values[name] = as_value(text, declared[name]["parameterType"])
    return values


def as_value(text: str, kind: str) -> Any:
    """``TextToPbValue`` of ``metadata/converter.go``."""
    if kind == "STRING":
        return text
    if kind == "BOOLEAN":
        return {"true": True, "false": False}[text.strip().lower()]
    value = float(int(text)) if kind == "NUMBER_INTEGER" else json.loads(text)
    expected = {"LIST": list, "STRUCT": dict}.get(kind, (int, float))
    if not isinstance(value, expected):
        raise ValueError(f"{text!r} is not a {kind}")
    return value


def fingerprint(request, component, container, settings) -> str:
    """Cache key of ``driver/cache.go``: names, not contents, and neither URIs nor variables."""
    inputs = request["inputs"]
    key = {
        "inputArtifactNames": {
            name: [a["name"] for a in found["artifacts"]]
            for name, found in inputs["artifacts"].items()
        },
        "inputParameterValues": inputs["parameterValues"],
        "outputArtifactsSpec": {
            name: found["artifacts"][0]["type"]
            for name, found in request["outputs"]["artifacts"].items()
        },
        "image": container["image"],
        "cmdArgs": [*container["command"], *container["args"]],
        "pvcNames": sorted({mount["constant"] for mount in settings.get("pvcMount", [])}),
    }
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def environment(root: Path, container: dict[str, Any]) -> dict[str, str]:
    """Variables of a pod: those of the image, of the container, and the root of its file system."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(CHECKOUT),
        "HOME": str(root / "home"),
        "TMPDIR": str(root / "tmp"),
        "LANG": "C.UTF-8",
        "TF_USE_LEGACY_KERAS": "0",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        # As many threads as this process: sums over more threads round differently.
        **{name: value for name, value in os.environ.items() if name.startswith("TF_NUM_INT")},
        "INKWELL_LAUNCHER_ROOT": str(root),
        **{variable["name"]: variable["value"] for variable in container.get("env", [])},
    }
