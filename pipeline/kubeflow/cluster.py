"""Settings of the cluster: images, storage, and the pod of every node.

Contract: ``cluster.yaml`` beside this file holds all of them with their reasons; ``load_cluster``
lays a file of the user over it, in which only differences need to stand. Unknown keys, wrong types
and values that Kubernetes would refuse are one sentence. Imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

from core.config import InputError, from_dict, require
from pipeline.config import merge, read_yaml
from pipeline.plan import NODES, TRAINERS

DEFAULT_CLUSTER = Path(__file__).with_name("cluster.yaml")
IMAGE_DATA_DIR = "/app/data/mnist"  # where the images carry the checkout's data/mnist
IMAGE_NAMES = {"cpu": "inkwell-cpu", "gpu": "inkwell-gpu"}  # as build.yaml has them

_QUANTITY = re.compile(r"(\d+|\d*\.\d+)(m|[kMGTPE]|[KMGTPE]i)?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")  # RFC 1123 subdomain
_ROOT = re.compile(r"(minio|s3|gs)://[a-z0-9][a-z0-9.-]+(/\S*)?")
_IMAGE = re.compile(r"[a-z0-9][\w.:/-]*(@sha256:[0-9a-f]{64})?")
_VARIABLE = re.compile(r"[A-Za-z_]\w*")


@dataclasses.dataclass(frozen=True)
class Images:
    """Container images, with a tag or a digest: they are what a cluster's cache knows code by."""

    cpu: str
    gpu: str

    def __post_init__(self):
        for image in (self.cpu, self.gpu):
            require(
                bool(_IMAGE.fullmatch(image)),
                f"{image!r} is no image name, as registry.example/inkwell-cpu:1f3a2b7 is one.",
            )


@dataclasses.dataclass(frozen=True)
class Volume:
    """A PersistentVolumeClaim in the namespace of the pipeline's pods, and its place in a pod."""

    claim: str
    mount: str  # absolute path

    def __post_init__(self):
        _check_name("claim", self.claim)
        require(
            self.mount.startswith("/") and self.mount != "/",
            f"mount must be an absolute path, not {self.mount!r}.",
        )


@dataclasses.dataclass(frozen=True)
class Toleration:
    """A taint that pods of trainers may run on, with the names Kubernetes has for its fields."""

    key: str = ""
    operator: str = "Exists"
    value: str = ""
    effect: str = "NoSchedule"

    def __post_init__(self):
        require(
            self.operator in ("Exists", "Equal"),
            f"operator is Exists or Equal, not {self.operator!r}.",
        )
        effects = ("", "NoSchedule", "PreferNoSchedule", "NoExecute")
        require(self.effect in effects, f"effect is one of {', '.join(effects[1:])}, or empty.")
        require(
            not (self.operator == "Exists" and self.value), "a toleration that Exists has no value."
        )


@dataclasses.dataclass(frozen=True)
class Pod:
    """What one node's pod asks for. Requests equal limits, so it is the last to be evicted."""

    cpu: str = "1"
    memory: str = "2Gi"
    gpus: int = 0  # with 0 a node runs in the CPU image

    def __post_init__(self):
        for name in ("cpu", "memory"):
            value = getattr(self, name)
            require(
                bool(_QUANTITY.fullmatch(value)),
                f"{name} must be a quantity of Kubernetes such as 500m, 2 or 4Gi, not {value!r}.",
            )
        require(0 <= self.gpus <= 16, f"gpus must be between 0 and 16, not {self.gpus}.")


@dataclasses.dataclass(frozen=True)
class Gpu:
    """The GPU nodes of the cluster, for the pods that ask for a GPU."""

    type: str  # extended resource, as its device plugin names it
    node_selector: dict[str, str] = dataclasses.field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()


@dataclasses.dataclass(frozen=True)
class Secret:
    """A Secret whose keys become environment variables of every pod."""

    name: str
    env: dict[str, str]  # variable: key of the Secret

    def __post_init__(self):
        _check_name("name", self.name)
        require(len(self.env) > 0, f"secret {self.name} gives no variable; name one under env.")
        _check_variables(self.env)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Everything about a cluster that a compiled pipeline needs to know."""

    images: Images
    pipeline_root: str  # minio://, s3:// or gs://; KFP's launcher copies artifacts from and to it
    data_uri: str  # four IDX files, as pods see them: in the image, on a volume, or gs://
    serving_store: Volume  # what TensorFlow Serving reads; <mount>/<model>/<version>
    gpu: Gpu
    data_volume: Volume | None = None  # mounted where the data is read
    trainers: Pod = dataclasses.field(default_factory=Pod)
    others: Pod = dataclasses.field(default_factory=Pod)
    nodes: dict[str, dict] = dataclasses.field(default_factory=dict)  # by id, over those
    max_retries: int = 2
    retry_backoff_seconds: int = 60
    run_as_user: int | None = 1000  # of the images; null for KFP before 2.16, which knows no such
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()
    env: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        require(
            bool(_ROOT.fullmatch(self.pipeline_root)),
            f"pipeline_root must begin with minio://, s3:// or gs:// and name a bucket, as KFP "
            f"stores artifacts nowhere else, not {self.pipeline_root!r}.",
        )
        check_data_uri(self.data_uri)
        policies = ("Always", "IfNotPresent", "Never")
        require(
            self.image_pull_policy in policies,
            f"image_pull_policy is one of {', '.join(policies)}, not {self.image_pull_policy!r}.",
        )
        require(0 <= self.max_retries <= 10, "max_retries must be between 0 and 10.")
        require(self.retry_backoff_seconds >= 0, "retry_backoff_seconds must be at least 0.")
        require(
            self.run_as_user is None or self.run_as_user > 0,
            "run_as_user must be above 0, as pods do not run as root, or null.",
        )
        for name in self.image_pull_secrets:
            _check_name("image_pull_secrets", name)
        _check_variables(self.env)
        for node_id in self.nodes:
            require(
                node_id in NODES,
                f"nodes: there is no node {node_id}; the nodes are {', '.join(NODES)}.",
            )
            self.pod(node_id)

    def pod(self, node_id: str) -> Pod:
        """What the pod of a node asks for."""
        base = self.trainers if node_id in TRAINERS else self.others
        given = self.nodes.get(node_id, {})
        return from_dict(Pod, {**dataclasses.asdict(base), **given}, f"nodes.{node_id}")

    def image(self, node_id: str) -> str:
        """The image that a node runs in."""
        return self.images.gpu if self.pod(node_id).gpus else self.images.cpu


def load_cluster(path: str | None = None, images: str | None = None) -> Cluster:
    """Reads the settings of a cluster.

    Args:
        path: YAML file whose settings are laid over ``pipeline/kubeflow/cluster.yaml``.
        images: File that ``skaffold build --file-output`` wrote; its tags replace the image names.

    Raises:
        InputError: A file cannot be read, or a setting is unknown or out of range.
    """
    settings = read_yaml(DEFAULT_CLUSTER)
    if path is not None:
        merge(settings, read_yaml(Path(path)), source=path, open_groups=_OPEN_GROUPS)
    if images is not None:
        settings["images"] = built_images(Path(images))
    try:
        return from_dict(Cluster, settings)
    except InputError as error:
        raise InputError(f"{path or DEFAULT_CLUSTER.name}: {error}") from None


def check_data_uri(uri: str) -> None:
    """Raises ``InputError`` unless pods can read the IDX files at ``uri``."""
    scheme = uri.partition("://")[0] if "://" in uri else ""
    require(
        scheme == "gs" or (not scheme and uri.startswith("/")),
        f"data_uri must be an absolute path in the pod or begin with gs://, not {uri!r}; what lies "
        "in another store is mounted with data_volume.",
    )


def built_images(path: Path) -> dict[str, str]:
    """Names with tags of both images from the file of ``skaffold build --file-output``."""
    try:
        builds = json.loads(path.read_text(encoding="utf-8"))["builds"]
        tags = {build["imageName"].rpartition("/")[2]: build["tag"] for build in builds}
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{path} is not what skaffold build --file-output writes; build the images again."
        ) from None
    for name in IMAGE_NAMES.values():
        require(name in tags, f"{path} holds no image {name}; build both of build.yaml.")
    return {kind: tags[name] for kind, name in IMAGE_NAMES.items()}


_OPEN_GROUPS = ("nodes", "env", "gpu.node_selector")


def _check_name(what: str, name: str) -> None:
    require(
        bool(_NAME.fullmatch(name)),
        f"{what}: {name!r} is no name in Kubernetes; it takes lower-case letters, digits, - and .",
    )


def _check_variables(env: dict[str, str]) -> None:
    for name in env:
        require(bool(_VARIABLE.fullmatch(name)), f"env: {name!r} is no name of a variable.")
