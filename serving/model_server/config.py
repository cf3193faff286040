"""The files that flags name: models.config, and those of batching, monitoring and TLS.

Contract: text protos, read as strictly as TensorFlow Serving reads them. models.config has its
proto in tensorflow-serving-api; the others are not there, so their fields are declared here.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import Message
from tensorflow_serving.config import model_server_config_pb2

from serving.model_server.tls import Tls, checked

_INT64 = descriptor_pb2.FieldDescriptorProto.TYPE_INT64
_BOOL = descriptor_pb2.FieldDescriptorProto.TYPE_BOOL
_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
METRICS_PATH = "/monitoring/prometheus/metrics"


class ConfigError(Exception):
    """A file that cannot be used; the message says which and why."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """One model: where its versions lie, which of them are served, and under which labels."""

    name: str
    base_path: Path
    latest: int | None = 1  # the newest so many; None where versions are named, or all are served
    versions: tuple[int, ...] = ()
    labels: dict[str, int] = dataclasses.field(default_factory=dict)

    def wanted(self, found: list[int]) -> list[int]:
        """The versions among ``found`` (ascending) that shall be served."""
        if self.versions:
            return [version for version in found if version in self.versions]
        return found if self.latest is None else found[-self.latest :]


@dataclasses.dataclass(frozen=True)
class BatchingParameters:
    """How requests are batched; the defaults are TensorFlow Serving's.

    Raises ``ValueError`` for a value out of range.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0  # 0 takes what is there once a thread is free
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    max_execution_batch_size: int = 0  # 0 for max_batch_size
    enable_large_batch_splitting: bool = True
    allowed_batch_sizes: tuple[int, ...] = ()  # a batch is padded to the next of them

    def __post_init__(self):
        for name in ("max_batch_size", "max_enqueued_batches", "num_batch_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")
        if self.batch_timeout_micros < 0:
            raise ValueError(f"batch_timeout_micros is {self.batch_timeout_micros}; use 0 or more.")
        if not 0 <= self.max_execution_batch_size <= self.max_batch_size:
            raise ValueError(f"max_execution_batch_size must be at most {self.max_batch_size}.")
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1):
            raise ValueError("allowed_batch_sizes must increase, from 1 or more.")
        if sizes and sizes[-1] != self.largest_execution:
            raise ValueError(
                f"the last of allowed_batch_sizes must be the largest batch, "
                f"{self.largest_execution}, not {sizes[-1]}."
            )

    @property
    def largest_execution(self) -> int:
        """Most rows that are run at one time."""
        return self.max_execution_batch_size or self.max_batch_size

    def padded(self, size: int) -> int:
        """The size that a batch of ``size`` rows is filled up to."""
        return next((allowed for allowed in self.allowed_batch_sizes if allowed >= size), size)


def read_models(path: Path) -> list[ModelConfig]:
    """The models of a models.config; raises ``ConfigError``."""
    return models_of(_parse(path, model_server_config_pb2.ModelServerConfig()), str(path))


def models_of(parsed: model_server_config_pb2.ModelServerConfig, source: str) -> list[ModelConfig]:
    """The models of a parsed configuration; raises ``ConfigError``, which names the source."""
    if parsed.WhichOneof("config") != "model_config_list":
        raise ConfigError(f"{source} holds no model_config_list.")
    models = [_model(source, config) for config in parsed.model_config_list.config]
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"{source}: Illegal to list model {name} multiple times in config list"
            )
    return models


def metrics_path(path: Path) -> str | None:
    """Path of the metrics, by a monitoring.config; None if they are off."""
    parsed = _parse(path, _MONITORING())
    config = parsed.prometheus_config
    return (config.path or METRICS_PATH) if config.enable else None


def read_batching(path: Path) -> BatchingParameters:
    """The parameters in a batching file; raises ``ConfigError``."""
    parsed = _parse(path, _BATCHING())
    given = {}
    for field in dataclasses.fields(BatchingParameters):
        value = getattr(parsed, field.name)
        if field.name == "allowed_batch_sizes":
            given[field.name] = tuple(value)
        elif parsed.HasField(field.name):
            given[field.name] = value.value
    try:
        return BatchingParameters(**given)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def local_path(text: str) -> Path:
    """The directory of a model; raises ``ConfigError`` for storage that is not here."""
    scheme, is_remote, _ = text.partition("://")
    if is_remote:
        raise ConfigError(
            f"{text} lies in {scheme}:// storage, which this server cannot read; copy the model to "
            "a local directory, or mount the storage."
        )
    return Path(text)


def _model(source: str, config: model_server_config_pb2.ModelConfig) -> ModelConfig:
    if not config.name or not config.base_path:
        raise ConfigError(f"{source}: every model needs a name and a base_path.")
    _check_platform(source, config)
    try:
        base_path = local_path(config.base_path)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    if not base_path.is_absolute():
        raise ConfigError(
            f"{source}: Expected model {config.name} to have an absolute path or URI; got "
            f"base_path()={config.base_path}"
        )
    policy = config.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "specific" and not policy.specific.versions:
        raise ConfigError(f"{source}: the policy specific of {config.name} names no version.")
    latest: int | None = policy.latest.num_versions or 1
    if choice in ("specific", "all"):
        latest = None
    return ModelConfig(
        name=config.name,
        base_path=base_path,
        latest=latest,
        versions=tuple(policy.specific.versions) if choice == "specific" else (),
        labels=dict(config.version_labels),
    )


def _check_platform(source: str, config: model_server_config_pb2.ModelConfig) -> None:
    """Raises ``ConfigError`` in upstream's words (server_core.cc, GetPlatform)."""
    if config.model_type and config.model_platform:
        raise ConfigError(
            f"{source}: Illegal setting both ModelServerConfig::model_type (deprecated) and "
            f"ModelServerConfig::model_platform, model name is {config.name}"
        )
    if config.model_type == model_server_config_pb2.ModelType.TENSORFLOW:
        return
    if config.model_type:
        raise ConfigError(
            f"{source}: ModelServerConfig::model_type choice {config.model_type} not supported."
        )
    if not config.model_platform:
        raise ConfigError(
            f"{source}: Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {config.name}"
        )
    if config.model_platform != "tensorflow":
        raise ConfigError(
            f"{source}: Model {config.name} requests unsupported platform {config.model_platform}"
        )


def read_ssl(path: Path) -> Tls:
    """The certificate of an ssl.config; raises ``ConfigError``, or ``ServingError`` in use."""
    parsed: Any = _parse(path, _SSL())
    if not parsed.server_key or not parsed.server_cert:
        raise ConfigError(f"{path} needs server_key and server_cert, in PEM.")
    tls = Tls(
        key=parsed.server_key.encode(),
        certificate=parsed.server_cert.encode(),
        authority=parsed.custom_ca.encode() or None,
        verifies_clients=parsed.client_verify,
    )
    return checked(tls, str(path))


def _parse(path: Path, message: Message) -> Message:
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), message)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}).") from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not as it should be: {error}") from None


def _declare(messages: dict[str, dict[str, Any]]) -> type[Message]:
    """The class of the last message; a field's type is protobuf's number, or a message's name."""
    file = descriptor_pb2.FileDescriptorProto(name=f"inkwell/{'_'.join(messages)}.proto")
    file.package, file.syntax = "inkwell.serving", "proto3"
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), 1):
            added = message.field.add(name=field, number=number)
            repeated = field in ("allowed_batch_sizes",)
            added.label = added.LABEL_REPEATED if repeated else added.LABEL_OPTIONAL
            if isinstance(kind, str):
                added.type, added.type_name = added.TYPE_MESSAGE, f".inkwell.serving.{kind}"
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName(f"inkwell.serving.{list(messages)[-1]}")
    return message_factory.GetMessageClass(found)


_MONITORING = _declare(
    {
        "PrometheusConfig": {"enable": _BOOL, "path": _STRING},
        "MonitoringConfig": {"prometheus_config": "PrometheusConfig"},
    }
)
_SSL = _declare(
    {
        "SSLConfig": {
            "server_key": _STRING,
            "server_cert": _STRING,
            "custom_ca": _STRING,
            "client_verify": _BOOL,
        }
    }
)
_BATCHING = _declare(
    {
        "Number": {"value": _INT64},
        "Flag": {"value": _BOOL},
        "Name": {"value": _STRING},
        "BatchingParameters": {
            "max_batch_size": "Number",
            "batch_timeout_micros": "Number",
            "max_enqueued_batches": "Number",
            "num_batch_threads": "Number",
            "max_execution_batch_size": "Number",
            "thread_pool_name": "Name",
            "allowed_batch_sizes": _INT64,
            "pad_variable_length_inputs": _BOOL,
            "enable_large_batch_splitting": "Flag",
        },
    }
)
