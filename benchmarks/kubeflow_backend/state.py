"""What the backend keeps: runs, objects in a bucket, artifacts in metadata."""

import dataclasses
import os
import posixpath
import re
import shutil
import threading
from pathlib import Path
from typing import Any

from google.protobuf import json_format, struct_pb2

SCHEMES = {"gs": "gcs", "minio": "minio", "s3": "s3"}  # and the launcher's folder of each


@dataclasses.dataclass
class Task:
    """The state of a task in one run."""

    name: str
    state: str = "PENDING"  # SUCCEEDED, CACHED, FAILED, or still PENDING if it never started
    attempts: int = 0
    waited: float = 0.0  # seconds that Argo would have waited between attempts
    started: float = 0.0  # seconds since the start of the run
    ended: float = 0.0
    cpu_seconds: float = 0.0  # of the last attempt
    peak_bytes: int = 0  # of its largest process
    log: str = ""
    outputs: dict[str, int] = dataclasses.field(default_factory=dict)  # ids in metadata
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)  # output parameters


@dataclasses.dataclass
class Run:
    """One run: its id, the place of its artifacts, its tasks by name."""

    id: str
    root: str
    tasks: dict[str, Task]

    @property
    def succeeded(self) -> bool:
        return all(task.state in ("SUCCEEDED", "CACHED") for task in self.tasks.values())

    def states(self) -> dict[str, str]:
        return {name: task.state for name, task in self.tasks.items()}


@dataclasses.dataclass(frozen=True)
class Root:
    """A bucket and a prefix in it: ``Config`` of objectstore/config.go."""

    scheme: str
    bucket: str
    prefix: str = ""  # with a slash at its end, or empty

    @classmethod
    def parse(cls, text: str) -> "Root":
        """``ParseBucketPathToConfig``; raises ``ValueError`` for what KFP does not store in."""
        found = re.fullmatch(r"([a-z][a-z0-9]+)://([^/?]+)(/[^?]*)?(\?.+)?", text)
        if found is None or found[1] not in SCHEMES:
            raise ValueError(f"parse bucket config failed: unsupported Cloud bucket: {text!r}")
        prefix = (found[3] or "").removeprefix("/")
        return cls(found[1], found[2], prefix and prefix.removesuffix("/") + "/")

    def holds(self, uri: str) -> bool:
        return uri.startswith(self._start)

    def key(self, uri: str) -> str:
        """``KeyFromURI``, with scheme, bucket and prefix, which the bucket puts before it."""
        if not self.holds(uri):
            raise ValueError(f"URI {uri!r} does not have expected bucket prefix {self._start!r}")
        rest = uri.removeprefix(self._start).lstrip("/")
        if not rest:
            raise ValueError(f"URI {uri!r} has empty key given prefixed bucket {self._start!r}")
        return f"{self.scheme}/{self.bucket}/{self.prefix}{rest}"

    @property
    def _start(self) -> str:
        return f"{self.scheme}://{posixpath.join(self.bucket, self.prefix).rstrip('/')}"


def local_path(uri: str, pod: Path) -> Path:
    """``LocalPathForURI`` of component/launcher_v2.go, below the root folder of a pod."""
    scheme, _, rest = uri.partition("://")
    if scheme not in SCHEMES:
        raise ValueError(f"failed to generate local path for URI {uri}: unsupported storage scheme")
    return pod / SCHEMES[scheme] / rest


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

    def download(self, key: str, local: Path, kfp: tuple[int, ...] = (2, 17)) -> None:
        """``DownloadBlob``: before 2.17 by bare prefix, so with ``model`` comes ``model_run``."""
        parent = self.folder / Path(key).parent
        for path in parent.rglob("*") if parent.is_dir() else ():
            full = path.relative_to(self.folder).as_posix()
            is_wanted = full == key or full.startswith(f"{key}/" if kfp >= (2, 17) else key)
            if path.is_file() and is_wanted:
                target = Path(os.path.normpath(local / os.path.relpath(full, key)))
                target.parent.mkdir(parents=True, exist_ok=True)
                target.parent.chmod(0o755)  # MkdirAll says so, whatever the umask
                with open(path, "rb") as source, open(target, "wb") as copy:
                    os.fchmod(copy.fileno(), 0o666)  # os.Create under the umask of the pod, 0
                    shutil.copyfileobj(source, copy)


class Metadata:
    """ML Metadata, as the driver and the launcher use it: what goes in does not come out the same.

    ``artifacts`` are as they come out; the index is the id.
    """

    def __init__(self):
        self.artifacts: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def record(self, name: str, uri: str, metadata: struct_pb2.Struct) -> int:
        """``RecordArtifact`` of metadata/client.go; raises ``ValueError`` for a null."""
        known = {key: _property(key, value) for key, value in metadata.fields.items()}
        known.setdefault("display_name", name)
        known.setdefault("store_session_info", '{"Provider":"minio"}')
        with self._lock:
            self.artifacts.append({"name": name, "uri": uri, "metadata": known})
            return len(self.artifacts) - 1

    def runtime_artifact(self, number: int) -> dict[str, Any]:
        """``toRuntimeArtifact``: its id as name, and no type."""
        known = self.artifacts[number]
        return {
            "name": str(number + 1),
            "uri": known["uri"],
            "type": {"instanceSchema": ""},
            "metadata": dict(known["metadata"]),
        }


def _property(key: str, value: struct_pb2.Value) -> Any:
    """``StructValueToMLMDValue`` of metadata/converter.go, and what is read of it again."""
    kind = value.WhichOneof("kind")
    if kind == "bool_value":
        return float(value.bool_value)  # stored as an integer, read as a double
    if kind in ("list_value", "struct_value"):
        return {kind.removesuffix("_value"): json_format.MessageToDict(value)}
    if kind in ("string_value", "number_value"):
        return getattr(value, kind)
    raise ValueError(f"unknown/unsupported value type in the metadata field {key}")
