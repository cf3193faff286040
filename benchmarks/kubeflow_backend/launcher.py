"""The pod of one attempt: KFP's launcher around the user's command (component/launcher_v2.go)."""

import copy
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as pb

from benchmarks.kubeflow_backend.driver import LOGS, as_value
from benchmarks.kubeflow_backend.state import Metadata, ObjectStore, Root, Task, local_path

CHECKOUT = Path(__file__).resolve().parents[2]
LONGEST_ARGUMENT = 128 * 1024  # bytes; MAX_ARG_STRLEN of Linux


@dataclasses.dataclass(frozen=True)
class Loss:
    """What befalls a pod before its command ends."""

    after: float  # seconds
    # The pod is deleted, as when its machine goes; else its container is killed, as out of memory.
    deleted: bool = False


@dataclasses.dataclass(frozen=True)
class Pod:
    """One attempt of a task in a folder of its own, which stands for the file system's root."""

    folder: Path
    request: dict[str, Any]  # with the paths of this pod
    component: dict[str, Any]
    container: dict[str, Any]
    root: Root  # of the run
    store: ObjectStore
    metadata: Metadata
    kfp: tuple[int, ...]

    def run(self, task: Task, loss: Loss | None) -> str:
        """Runs to the end; returns the phase that Argo sees: Succeeded, Failed or Error.

        The launcher's own failures end the same container as those of the command.
        """
        for name in ("tmp", "home", "work"):
            (self.folder / name).mkdir(parents=True)
        try:
            self._download()
            status = self._execute(task, loss)
            if loss is not None and status < 0:
                task.log += f"\nbackend: exit status {status}"
                return "Error" if loss.deleted else "Failed"
            if status:
                task.log += f"\nbackend: exit status {status}"
                self._record(task, [LOGS], pb.ExecutorOutput())
                return "Failed"
            self._publish(task)
        except (ValueError, OSError, json_format.ParseError) as error:
            task.log += f"\nbackend: failed to execute component: {type(error).__name__}: {error}"
            return "Failed"
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
        return "Succeeded"

    def _download(self) -> None:
        """``downloadArtifacts``: what is not below the root of the run comes by its bucket."""
        for found in self.request["inputs"]["artifacts"].values():
            for artifact in found["artifacts"]:
                uri = artifact["uri"]
                root = self.root if self.root.holds(uri) else _bucket(uri)
                self.store.download(root.key(uri), local_path(uri, self.folder), self.kfp)

    def _execute(self, task: Task, loss: Loss | None) -> int:
        """Exit status of the command, negative for a signal."""
        outputs = self.request["outputs"]
        uris = [a["uri"] for found in outputs["artifacts"].values() for a in found["artifacts"]]
        paths = [local_path(uri, self.folder) for uri in uris]
        for path in [*paths, *(Path(o["outputFile"]) for o in outputs["parameters"].values())]:
            path.parent.mkdir(parents=True, exist_ok=True)
        log = local_path(self._uri(LOGS), self.folder)
        with open(log, "wb") as file:
            process = subprocess.Popen(
                self._words(),
                cwd=self.folder / "work",
                env=_environment(self.folder, self.container),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0,  # of Argo's emissary: workflow/executor/osspecific/umask_linux.go
            )
        killer = threading.Timer(
            loss.after if loss else 0, os.killpg, (process.pid, signal.SIGKILL)
        )
        if loss is not None:
            killer.start()
        _, status, usage = os.wait4(process.pid, 0)
        killer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        task.cpu_seconds = usage.ru_utime + usage.ru_stime
        task.peak_bytes = usage.ru_maxrss * 1024
        task.log += log.read_text(errors="replace")
        return process.returncode

    def _words(self) -> list[str]:
        """``addDefaultParams``, ``compileCmdAndArgs``; of the placeholders, the message alone."""
        message = copy.deepcopy(self.request)
        for name, parameter in (
            self.component.get("inputDefinitions", {}).get("parameters", {}).items()
        ):
            if "defaultValue" in parameter:
                message["inputs"]["parameterValues"].setdefault(name, parameter["defaultValue"])
        words = [*self.container["command"], *self.container["args"]]
        for word in words:
            if "{{$." in word:
                raise NotImplementedError(f"the placeholder in {word} is not imitated")
        text = json.dumps(message)
        words = [word.replace("{{$}}", text) for word in words]
        if max(len(word.encode()) for word in words) >= LONGEST_ARGUMENT:
            raise OSError("argument list too long")
        return words

    def _publish(self, task: Task) -> None:
        """What the command has written, by its answer; a missing file is an empty answer."""
        path = Path(self.request["outputs"]["outputFile"])
        text = path.read_text() if path.exists() else "{}"  # getExecutorOutputFile
        answer = json_format.Parse(text, pb.ExecutorOutput())
        values = json_format.MessageToDict(answer).get("parameterValues", {})
        declared = self.component.get("outputDefinitions", {}).get("parameters", {})
        for name, output in self.request["outputs"]["parameters"].items():
            if name not in values:  # the answer goes before the file: collectOutputParameters
                text = Path(output["outputFile"]).read_text()
                values[name] = as_value(text, declared[name]["parameterType"])
        self._record(task, list(self.request["outputs"]["artifacts"]), answer)
        task.parameters = values

    def _record(self, task: Task, names: list[str], answer: pb.ExecutorOutput) -> None:
        """``uploadOutputArtifacts``: what is not there is recorded all the same."""
        for name in names:
            uri, metadata = self._uri(name), struct_pb2.Struct()
            for said in answer.artifacts[name].artifacts[:1] if name != LOGS else ():
                uri = said.uri or uri
                metadata.update(said.metadata)
            key = self.root.key(uri)
            if local_path(uri, self.folder).exists():
                self.store.upload(local_path(uri, self.folder), key)
            task.outputs[name] = self.metadata.record(name, uri, metadata)

    def _uri(self, name: str) -> str:
        return self.request["outputs"]["artifacts"][name]["artifacts"][0]["uri"]


def in_pod(request: dict[str, Any], folder: Path, attempt: int, kfp: tuple[int, ...]) -> Any:
    """A copy of the message for one attempt, counted from 1, with files below ``folder``.

    From 2.16 on the log of each attempt has a name of its own: ``qualifyExecutorLogsURI``.
    """
    request = copy.deepcopy(request)
    outputs = request["outputs"]
    if kfp >= (2, 16):
        outputs["artifacts"][LOGS]["artifacts"][0]["uri"] += f"-{attempt - 1}"
    for output in (outputs, *outputs["parameters"].values()):
        output["outputFile"] = str(folder) + output["outputFile"]
    return request


def pod_folder(folder: Path, name: str) -> Path:
    """A folder that no other attempt has."""
    return folder / "pods" / f"{name}-{uuid.uuid4().hex[:8]}"


def _bucket(uri: str) -> Root:
    """``ParseBucketConfigForArtifactURI``."""
    root = Root.parse(uri)
    return Root(root.scheme, root.bucket)


def _environment(root: Path, container: dict[str, Any]) -> dict[str, str]:
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
