"""Runs one node of the pipeline in a pod of Kubeflow Pipelines.

KFP's launcher copies input artifacts to this pod, starts

    python -m pipeline.kubeflow.entrypoint --node_id ... --executor_class_path ... {{$}} ...

and copies output artifacts away. TFX's own entrypoint fails there: artifacts arrive without their
types, and under URLs that TensorFlow cannot read. Contract: artifacts get the types of the
component's spec and the paths of their copies; the executor runs; the metadata of its outputs goes
to the output file, with URLs again. Exit code 2 for the user's mistake, 1 for any other failure.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.config import InputError, from_dict
from core.files import write_whole
from core.origin import ORIGIN_PROPERTY
from pipeline.config import RunConfig, override
from pipeline.environment import set_environment
from pipeline.kubeflow.spec import (
    CONFIG_VARIABLE,
    DATA_FINGERPRINT,
    DATA_READERS,
    DATA_URI,
    OVERRIDES,
    RUN_ID,
    THRESHOLDS,
)

if TYPE_CHECKING:
    from kfp.pipeline_spec import pipeline_spec_pb2 as pb

# Where KFP's launcher keeps its copies; LocalPathForURI in backend/src/v2/component/launcher_v2.go.
LAUNCHER_PATHS = {"gs://": "/gcs/", "minio://": "/minio/", "s3://": "/s3/"}
ROOT_VARIABLE = "INKWELL_LAUNCHER_ROOT"  # prefix of those paths; empty in a pod
EMPTY_PROPERTY = "empty"  # set on an output that is a directory without files
_OURS = (DATA_URI, DATA_FINGERPRINT, OVERRIDES, THRESHOLDS, RUN_ID)  # not known to executors
_LOG = logging.getLogger(__name__)


class EntrypointError(RuntimeError):
    """The backend passed something unexpected."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the node that the arguments describe; returns the exit code."""
    arguments, flags = _parse(sys.argv[1:] if argv is None else argv)
    set_environment()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        run_node(arguments, flags)
    except (InputError, EntrypointError) as error:
        # Users of a cluster look at the last line of the pod's log.
        print(f"{arguments.node_id}: {error}", file=sys.stderr, flush=True)
        return 2 if isinstance(error, InputError) else 1
    return 0


def run_node(arguments: argparse.Namespace, flags: list[str]) -> None:
    """Reads the backend's message, runs the executor, writes the answer."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2 as pb

    request = json_format.Parse(
        arguments.json_serialized_invocation_args, pb.ExecutorInput(), ignore_unknown_fields=True
    )
    inputs_spec = json_format.Parse(
        arguments.json_serialized_inputs_spec_args or "{}", pb.ComponentInputsSpec()
    )
    run_id = _run_id(request)
    _override_settings(arguments.node_id, request)
    fill_types(request, inputs_spec)
    drop_launchers_own(request)
    paths = Paths(os.environ.get(ROOT_VARIABLE, ""))
    use_local_paths(request, paths)
    if arguments.node_id in DATA_READERS and "input_base" in request.inputs.parameter_values:
        _run_example_gen_driver(arguments, request)
    artifacts = _execute(arguments.executor_class_path, request, inputs_spec, flags, run_id)
    answer = pb.ExecutorOutput(artifacts=artifacts)
    mark_empty(answer)
    use_remote_urls(answer, paths)
    write_whole(request.outputs.output_file, json_format.MessageToJson(answer))


class Paths:
    """Maps URLs of artifacts to the paths of their copies in this pod, and back."""

    def __init__(self, root: str):
        self._pairs = [(scheme, root + path) for scheme, path in LAUNCHER_PATHS.items()]

    def local(self, url: str, artifact: str) -> str:
        """Path of the copy; ``artifact`` is its name in the error."""
        for scheme, path in self._pairs:
            if url.startswith(scheme):
                return path + url[len(scheme) :]
        raise EntrypointError(
            f"The artifact {artifact} has the URI {url!r}, which KFP does not copy; the "
            f"pipeline root must begin with {', '.join(LAUNCHER_PATHS)}."
        )

    def remote(self, text: str) -> str:
        """``text`` with the paths of copies in it turned into URLs."""
        for scheme, path in self._pairs:
            text = text.replace(path, scheme)
        return text


def fill_types(request: pb.ExecutorInput, inputs_spec: pb.ComponentInputsSpec) -> None:
    """Gives input artifacts the types of the component's spec, which KFP leaves out.

    (``metadata/client.go`` of KFP sets the instance schema to "", of 2.5 as of 2.17.)
    """
    for name, found in request.inputs.artifacts.items():
        if name not in inputs_spec.artifacts:
            raise EntrypointError(
                f"KFP passed an artifact {name} that the component does not take; compile the "
                "pipeline again with the code of this image."
            )
        for artifact in found.artifacts:
            if not (artifact.type.schema_title or artifact.type.instance_schema):
                artifact.type.CopyFrom(inputs_spec.artifacts[name].artifact_type)


def drop_launchers_own(request: pb.ExecutorInput) -> None:
    """Removes outputs that the launcher adds for itself, such as ``executor-logs``."""
    for name, found in list(request.outputs.artifacts.items()):
        if any(a.type.schema_title.startswith("system.") for a in found.artifacts):
            del request.outputs.artifacts[name]


def use_local_paths(request: pb.ExecutorInput, paths: Paths) -> None:
    """Sets every artifact's URI to its copy in this pod; inputs keep their origin."""
    for name, found in request.inputs.artifacts.items():
        for artifact in found.artifacts:
            artifact.metadata[ORIGIN_PROPERTY] = artifact.uri
            artifact.uri = paths.local(artifact.uri, name)
            if EMPTY_PROPERTY in artifact.metadata:
                os.makedirs(artifact.uri, exist_ok=True)
            elif not os.path.exists(artifact.uri):
                raise EntrypointError(
                    f"The artifact {name} is not at {artifact.uri}: the node before wrote nothing, "
                    f"or {artifact.metadata[ORIGIN_PROPERTY]} was deleted."
                )
    for name, found in request.outputs.artifacts.items():
        for artifact in found.artifacts:
            artifact.uri = paths.local(artifact.uri, name)


def mark_empty(answer: pb.ExecutorOutput) -> None:
    """Marks outputs without files, as an object store drops empty directories."""
    for found in answer.artifacts.values():
        for artifact in found.artifacts:
            is_directory = os.path.isdir(artifact.uri)
            if is_directory and not any(files for _, _, files in os.walk(artifact.uri)):
                artifact.metadata[EMPTY_PROPERTY] = 1


def use_remote_urls(answer: pb.ExecutorOutput, paths: Paths) -> None:
    """Turns paths back into URLs, in metadata too, and drops nulls, which KFP refuses."""
    for found in answer.artifacts.values():
        for artifact in found.artifacts:
            artifact.uri = paths.remote(artifact.uri)
            for key, value in list(artifact.metadata.fields.items()):
                if value.WhichOneof("kind") in (None, "null_value"):
                    del artifact.metadata.fields[key]
                elif value.WhichOneof("kind") == "string_value":
                    value.string_value = paths.remote(value.string_value)


def overridden_config(parameters: Mapping[str, str], config: RunConfig) -> RunConfig | None:
    """The configuration of this run; None if it is the compiled one.

    Args:
        parameters: Parameters of the run passed to this node.
        config: The compiled configuration.

    Raises:
        InputError: A setting or a gate is unknown or wrong.
    """
    overrides = parameters.get(OVERRIDES, "").split()
    for threshold in parameters.get(THRESHOLDS, "").split():
        name, _, value = threshold.partition("=")
        if name.count(".") != 1 or not value:
            raise InputError(f"{threshold} in {THRESHOLDS} is not of the form model.metric=value.")
        overrides.append(f"evaluator.gates.{name}.threshold={value}")
    changed = override(config, overrides)
    if parameters.get(DATA_URI):
        settings = {**dataclasses.asdict(changed), "data_dir": parameters[DATA_URI]}
        changed = from_dict(RunConfig, settings)
    return None if changed == config else changed


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        "python -m pipeline.kubeflow.entrypoint", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--node_id", required=True)
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args")
    parser.add_argument("--code", help="Fingerprint of the code, for KFP's cache only.")
    return parser.parse_known_args(argv)


def _run_id(request: pb.ExecutorInput) -> str | None:
    value = request.inputs.parameter_values[RUN_ID].string_value
    return None if not value or value.startswith("{{") else value


def _override_settings(node_id: str, request: pb.ExecutorInput) -> None:
    """Replaces the node's parameters if this run overrides settings; removes the run's own.

    The pipeline is assembled again with the settings of the run, so that a node gets the same
    parameters as if they had been compiled.
    """
    values = request.inputs.parameter_values
    given = {name: values[name].string_value for name in _OURS if name in values}
    for name in _OURS:
        values.pop(name, None)
    if not any(given.get(name) for name in (OVERRIDES, THRESHOLDS, DATA_URI)):
        return
    if CONFIG_VARIABLE not in os.environ:
        raise EntrypointError(f"The variable {CONFIG_VARIABLE} is not set; compile the pipeline.")
    config = from_dict(RunConfig, json.loads(os.environ[CONFIG_VARIABLE]))
    changed = overridden_config(given, config)
    if changed is None:
        return
    from google.protobuf import json_format, struct_pb2

    from pipeline.kubeflow.cluster import load_cluster
    from pipeline.kubeflow.compiler import tfx_spec

    spec, _ = tfx_spec(changed, load_cluster())
    task = spec["root"]["dag"]["tasks"][node_id]
    for name, source in task["inputs"].get("parameters", {}).items():
        if name != DATA_READERS.get(node_id):
            constant = source["runtimeValue"]["constant"]
            values[name].CopyFrom(json_format.ParseDict(constant, struct_pb2.Value()))
    _LOG.info("Settings of this run: %s", given)


def _run_example_gen_driver(arguments: argparse.Namespace, request: pb.ExecutorInput) -> None:
    """Runs the driver of FileBasedExampleGen, which finds span and fingerprint of the data.

    TFX runs it in a hook that only Vertex AI supports. Its result, in the output file, goes into
    ``request``.
    """
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2 as pb
    from tfx.orchestration.kubeflow.v2.file_based_example_gen import driver

    driver.main(
        argparse.Namespace(
            json_serialized_invocation_args=json_format.MessageToJson(request),
            json_serialized_inputs_spec_args=arguments.json_serialized_inputs_spec_args,
        )
    )
    with open(request.outputs.output_file, encoding="utf-8") as file:
        answer = json_format.Parse(file.read(), pb.ExecutorOutput())
    for name, value in answer.parameter_values.items():
        request.inputs.parameter_values[name].CopyFrom(value)
    for name, found in answer.artifacts.items():
        request.outputs.artifacts[name].artifacts[0].metadata.update(found.artifacts[0].metadata)


def _execute(
    class_path: str,
    request: pb.ExecutorInput,
    inputs_spec: pb.ComponentInputsSpec,
    flags: list[str],
    run_id: str | None,
) -> Mapping[str, pb.ArtifactList]:
    """Calls the executor as TFX's own entrypoint does, with the id of the run in addition."""
    from tfx.dsl.components.base import base_beam_executor, base_executor
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as utils
    from tfx.orchestration.portable import outputs_utils
    from tfx.utils import import_utils

    names: dict[int, str] = {}
    inputs = utils.parse_raw_artifact_dict(request.inputs.artifacts, names)
    outputs = utils.parse_raw_artifact_dict(request.outputs.artifacts, names)
    properties = utils.parse_execution_properties(
        request.inputs.parameter_values, request.inputs.parameters, inputs_spec
    )
    outputs_utils.make_output_dirs(outputs)  # as a run on this machine does
    executor_class = import_utils.import_class_by_path(class_path)
    common: dict[str, Any] = {"unique_id": run_id or "run", "pipeline_run_id": run_id}
    with tempfile.TemporaryDirectory() as folder:
        common["tmp_dir"] = folder
        if issubclass(executor_class, base_beam_executor.BaseBeamExecutor):
            context = executor_class.Context(beam_pipeline_args=flags, **common)
        else:
            context = base_executor.BaseExecutor.Context(extra_flags=flags, **common)
        executor_class(context).Do(inputs, outputs, properties)
    outputs_utils.tag_output_artifacts_with_version(outputs)
    return utils.translate_executor_output(outputs, names)


if __name__ == "__main__":
    sys.exit(main())
