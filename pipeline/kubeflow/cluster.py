"""Settings of the cluster: images, storage, and the pod of every node.

Contract: ``cluster.yaml`` next to this file holds all of them with their reasons; ``load_cluster``
lays a file of the user over it, in which only differences need to stand. Unknown keys, wrong types
and values that Kubernetes would refuse are one sentence. Imports nothing heavy.
"""

import dataclasses
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, NonNegativeInt
from pydantic.dataclasses import dataclass

from core.config import STRICT, InputError, from_dict, require, unknown
from core.models import MODELS
from pipeline.config import BeamArgs, read_yaml
from pipeline.plan import NODES, TRAINERS

DEFAULT_CLUSTER = Path(__file__).with_name("cluster.yaml")
DATA_DIGEST = "data-digest"  # the task that a cluster has besides the nodes of the pipeline
# A pipeline root, and what it is in words.
ROOT_FORM = r"(minio|s3|gs)://[a-z0-9][a-z0-9.-]+(/\S*)?"
ROOT_WORDS = "a bucket at minio://, s3:// or gs://, as KFP stores artifacts nowhere else"
PUSHERS = tuple(kind.pusher for kind in MODELS.values())
SIGNING_VARIABLE = "INKWELL_SIGNING_KEY"  # as serving/signing.py reads it
# Names of variables that should be in a Secret.
_SECRET_NAME = re.compile(r"SECRET|TOKEN|KEY|PASSWORD|CREDENTIAL", re.IGNORECASE)
IMAGE_NAMES = {"cpu": "inkwell-cpu", "gpu": "inkwell-gpu"}  # as build.yaml has them


def _form(pattern: str, words: str) -> Any:
    """A form of text that Kubernetes or KFP asks for, and what it is in words."""
    return Field(pattern=f"^({pattern})$", description=words)


def _check_variables(env: dict[str, str]) -> dict[str, str]:
    for name in env:
        require(bool(re.fullmatch(r"[A-Za-z_]\w*", name)), f"{name!r} is no name of a variable.")
    return env


_Name = Annotated[
    str, _form(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", "a Kubernetes name of a-z, 0-9, - and .")
]
_Image = Annotated[
    str, _form(r"[a-z0-9][\w.:/-]*(@sha256:[0-9a-f]{64})?", "an image, as registry.example/a:1f3a")
]
_Quantity = Annotated[
    str, _form(r"(\d+|\d*\.\d+)(m|[kMGTPE]|[KMGTPE]i)?", "a quantity such as 500m, 2 or 4Gi")
]
_Root = Annotated[str, _form(ROOT_FORM, ROOT_WORDS)]
_Mount = Annotated[str, _form(r"/.+", "an absolute path")]
_User = Annotated[int, Field(gt=0, description="above 0, as pods do not run as root")]
_VARIABLES = AfterValidator(_check_variables)


@dataclass(frozen=True, config=STRICT)
class Images:
    """Container images, with a tag or a digest: they are what a cluster's cache knows code by."""

    cpu: _Image  # of nodes that ask for no GPU
    gpu: _Image  # of those that do


@dataclass(frozen=True, config=STRICT)
class Volume:
    """A PersistentVolumeClaim in the namespace of the pipeline's pods, and its place in a pod."""

    claim: _Name  # of the PersistentVolumeClaim
    mount: _Mount  # in the pod


@dataclass(frozen=True, config=STRICT)
class Toleration:
    """A taint that pods of trainers may run on, with the names Kubernetes has for its fields."""

    key: str = ""  # of the taint; empty: all
    operator: Literal["Exists", "Equal"] = "Exists"  # how key and value are compared
    value: str = ""  # of the taint, for Equal
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"  # empty: all

    def __post_init__(self):
        require(
            not (self.operator == "Exists" and self.value), "a toleration that Exists has no value."
        )


@dataclass(frozen=True, config=STRICT)
class Pod:
    """What one node's pod asks for. Requests equal limits, so it is the last to be evicted."""

    cpu: _Quantity = "1"  # cores
    memory: _Quantity = "2Gi"  # of the pod; above it the pod is killed
    gpus: Annotated[int, Field(ge=0, le=16)] = 0  # with 0 a node runs in the CPU image


@dataclass(frozen=True, config=STRICT)
class Gpu:
    """The GPU nodes of the cluster, for the pods that ask for a GPU."""

    type: str  # extended resource, as its device plugin names it
    # Labels of the nodes that have it.
    node_selector: dict[str, str] = dataclasses.field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()  # taints of those nodes


@dataclass(frozen=True, config=STRICT)
class Secret:
    """A Secret whose keys become environment variables of the pods of some nodes."""

    name: _Name  # of the Secret
    env: Annotated[dict[str, str], Field(min_length=1), _VARIABLES]  # variable: key of the Secret
    nodes: tuple[str, ...] = ()  # ids; empty: the nodes that read the data


@dataclass(frozen=True, config=STRICT)
class Cluster:
    """Everything about a cluster that a compiled pipeline needs to know."""

    images: Images  # by which a node runs
    data_uri: str  # images and labels, as pods see them: in the image, on a volume, gs:// or s3://
    serving_store: Volume  # what TensorFlow Serving reads; <mount>/<model>/<version>
    gpu: Gpu  # the nodes that have one
    # A second claim on the same files, which cannot be written through it: for the nodes that only
    # read them. Null gives all of them that of serving_store.
    serving_read_claim: _Name | None = None
    # KFP's launcher copies artifacts from and to it; null for the root that the cluster itself has.
    pipeline_root: _Root | None = None
    data_volume: Volume | None = None  # mounted where the data is read
    trainers: Pod = dataclasses.field(default_factory=Pod)  # of the nodes that train
    others: Pod = dataclasses.field(default_factory=Pod)  # of all other nodes
    nodes: dict[str, dict] = dataclasses.field(default_factory=dict)  # by id, over those
    beam_args: BeamArgs | None = None  # options of Beam; null for those of the run's settings
    join_tasks: bool = True  # evaluation and serving check of a model in one pod
    # Under which the pods run; null for KFP's own (pipeline-runner).
    service_account: _Name | None = None
    # Whether who starts a run may set thresholds and overrides (free), or neither (fixed).
    gates: Literal["free", "fixed"] = "free"
    max_retries: Annotated[int, Field(ge=0, le=10)] = 2  # of a pod that failed
    retry_backoff_seconds: NonNegativeInt = 60  # before the first; each later one waits twice that
    run_as_user: _User | None = 1000  # of the images; null for KFP before 2.16, which knows no such
    # When a pod fetches its image.
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[_Name, ...] = ()  # names of Secrets for a private registry
    secrets: tuple[Secret, ...] = ()  # as environment variables
    # Variables of every pod, for all to read.
    env: Annotated[dict[str, str], _VARIABLES] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        check_data_uri(self.data_uri)
        known = [DATA_DIGEST, *NODES]
        for node_id in self.nodes:
            require(node_id in known, unknown(f"nodes.{node_id}", known))
            self.pod(node_id)
        for secret in self.secrets:
            for node_id in secret.nodes:
                require(node_id in known, unknown(f"secrets.nodes.{node_id}", known))
            require(
                SIGNING_VARIABLE not in secret.env or set(PUSHERS) >= {*(secret.nodes or NODES)},
                f"secrets.{secret.name} gives {SIGNING_VARIABLE} to pods in which models run, and "
                f"a model could read it; name the pushers alone: nodes: [{', '.join(PUSHERS)}]",
            )

    def pod(self, node_id: str) -> Pod:
        """What the pod of a node asks for."""
        base = self.trainers if node_id in TRAINERS else self.others
        given = self.nodes.get(node_id, {})
        return from_dict(Pod, {**dataclasses.asdict(base), **given}, f"nodes.{node_id}")

    def store(self, writes: bool) -> Volume:
        """The models in serving, for a node that writes them or for one that only reads them."""
        claim = None if writes else self.serving_read_claim
        return dataclasses.replace(self.serving_store, claim=claim or self.serving_store.claim)

    def image(self, node_id: str) -> str:
        """The image that a node runs in."""
        return self.images.gpu if self.pod(node_id).gpus else self.images.cpu


def open_secrets(cluster: Cluster) -> list[str]:
    """Names of plain variables that look like secrets."""
    return [name for name in cluster.env if _SECRET_NAME.search(name)]


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
        _merge(settings, read_yaml(Path(path)))
    if images is not None:
        settings["images"] = built_images(Path(images))
    return from_dict(Cluster, settings, source=path or DEFAULT_CLUSTER.name)


def check_data_uri(uri: str, name: str = "data_uri") -> None:
    """Raises ``InputError``, which begins with ``name``, unless pods can read images at ``uri``."""
    scheme = uri.partition("://")[0] if "://" in uri else ""
    require(
        scheme in ("gs", "s3") or (not scheme and uri.startswith("/")),
        f"{name} must be an absolute path in the pod, or begin with gs:// or s3://, not {uri!r}; "
        "what lies in another store is mounted with data_volume.",
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


def _merge(base: dict[str, Any], given: dict[str, Any]) -> None:
    """Lays ``given`` over ``base`` in place, group by group."""
    for key, value in given.items():
        if isinstance(base.get(key), dict) and isinstance(value, dict):
            _merge(base[key], value)
        else:
            base[key] = value
