"""Runs one node of the pipeline in a pod of Kubeflow Pipelines.

KFP's launcher copies input artifacts to this pod, starts

    python -m pipeline.kubeflow.entrypoint NODE {{$}} --settings=DIGEST --code=FINGERPRINT

and copies output artifacts away. TFX's own entrypoint fails there: artifacts arrive without their
types, and under URLs that TensorFlow cannot read. Contract: the node's parameters are those of the
pipeline assembled here from the package's settings and the run's; artifacts get the types of the
component's spec and the paths of their copies; the executor runs; the metadata of its outputs goes
to the output file, with URLs again. A fault of the store or the network that passes by itself
starts the node again. Exit code 2 for the user's mistake, 1 for any other failure.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from core.artifacts import short_digest
from core.config import InputError
from core.files import write_whole
from core.origin import ORIGIN_PROPERTY
from pipeline.environment import set_environment
from pipeline.kubeflow.nodes import OTHER_CODE, Node, resolve_node
from pipeline.kubeflow.spec import RUN_ID, joint_key
from pipeline.kubeflow.starting_again import passing_fault, retry_waits, start_again

if TYPE_CHECKING:
    from kfp.pipeline_spec import pipeline_spec_pb2 as pb

# Where KFP's launcher keeps its copies; LocalPathForURI in backend/src/v2/component/launcher_v2.go.
LAUNCHER_PATHS = {"gs://": "/gcs/", "minio://": "/minio/", "s3://": "/s3/"}
ROOT_VARIABLE = "INKWELL_LAUNCHER_ROOT"  # prefix of those paths; empty in a pod
EMPTY_PROPERTY = "empty"  # set on an output that is a directory without files
SESSION_PROPERTY = "store_session_info"  # which KFP sets only where it is missing
KEPT_FILE = ".inkwell-properties.json"  # long properties of the directory in which it lies
KEPT_PROPERTY = "kept"  # digest of that file: KFP's database has it, and the bucket does not
DECISIONS = {"blessed", "pushed"}  # properties of artifacts whose file must have that digest
LONGEST_PROPERTY = 24  # characters of those that stay with KFP
SHOWN = ("reason", "pushed_destination")  # stay in any case: `inkwell submit` reads them
_LOG = logging.getLogger(__name__)


class EntrypointError(RuntimeError):
    """The backend passed something unexpected."""


def main(
    argv: Sequence[str] | None = None,
    resolve: Callable[[str, str, Mapping[str, str]], Node] | None = None,
) -> int:
    """Runs the node that the arguments name; returns the exit code.

    ``resolve`` finds the node by its id, the digest of its settings, and what the run gives it.
    """
    arguments = _parse(sys.argv[1:] if argv is None else argv)
    set_environment()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    waits: list[float] = []
    try:
        waits = retry_waits()
        run_task(arguments, resolve or resolve_node)
    except Exception as error:
        fault = passing_fault(error)
        if fault:
            start_again(fault, waits)
        if not isinstance(error, (InputError, EntrypointError)):
            raise
        # Users of a cluster look at the last line of the pod's log.
        print(f"{arguments.node_id}: {error}", file=sys.stderr, flush=True)
        return 2 if isinstance(error, InputError) and not fault else 1
    return 0


def run_task(
    arguments: argparse.Namespace, resolve: Callable[[str, str, Mapping[str, str]], Node]
) -> None:
    """Reads the backend's message, runs the node or the joined nodes, writes the answer."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2 as pb

    request = json_format.Parse(arguments.request, pb.ExecutorInput(), ignore_unknown_fields=True)
    given = json_format.MessageToDict(request.inputs).get("parameterValues", {})
    members, digests = arguments.node_id.split(","), arguments.settings.split(",")
    nodes = [resolve(*pair, given) for pair in zip(members, digests, strict=True)]
    if len(nodes) == 1:
        answer = run_node(nodes[0], request, given)
    else:
        answer = _run_joined(dict(zip(members, nodes, strict=True)), request, given)
    write_whole(request.outputs.output_file, json_format.MessageToJson(answer))


def _run_joined(
    nodes: Mapping[str, Node], request: pb.ExecutorInput, given: Mapping[str, str]
) -> pb.ExecutorOutput:
    """Runs nodes one after the other, each with its part of the message.

    What one hands another is in this pod already, where its copy would be.
    """
    from kfp.pipeline_spec import pipeline_spec_pb2 as pb

    together = pb.ExecutorOutput()
    for node_id, node in nodes.items():
        part = pb.ExecutorInput()
        part.outputs.output_file = request.outputs.output_file
        for name, (producer, key) in node.reads.items():
            known = together if producer in nodes else request.inputs
            part.inputs.artifacts[name].CopyFrom(known.artifacts[joint_key(producer, key)])
        for key, found in request.outputs.artifacts.items():
            if key.startswith(joint_key(node_id, "")):
                part.outputs.artifacts[key.removeprefix(joint_key(node_id, ""))].CopyFrom(found)
        for key, found in run_node(node, part, given).artifacts.items():
            together.artifacts[joint_key(node_id, key)].CopyFrom(found)
    return together


def run_node(node: Node, request: pb.ExecutorInput, given: Mapping[str, str]) -> pb.ExecutorOutput:
    """Runs the executor on the copies of its artifacts; returns what KFP shall know of its outputs.

    Args:
        node: The node.
        request: The backend's message, which is changed.
        given: Parameters of the run.
    """
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2 as pb

    request.inputs.ClearField("parameter_values")
    json_format.ParseDict({"parameterValues": node.parameters}, request.inputs)
    fill_types(request, node.inputs)
    drop_launchers_own(request)
    paths = Paths(os.environ.get(ROOT_VARIABLE, ""))
    use_local_paths(request, paths)
    _remove_remains(request)
    if "input_base" in node.parameters:
        _run_example_gen_driver(request, node.inputs)
    artifacts = _execute(node, request, _run_id(given))
    answer = pb.ExecutorOutput(artifacts=artifacts)
    mark_empty(answer)
    keep_small(answer, paths)
    use_remote_urls(answer, paths)
    return answer


class Paths:
    """URLs of this task's artifacts, and the paths of their copies in this pod.

    A path becomes a URL only where a whole value is the path of such a copy or leads below one: a
    store that is mounted at /mnt/s3/models, and a sentence, are what they are.
    """

    def __init__(self, root: str):
        """``root`` is put before the launcher's paths; it is empty in a pod."""
        self._root = root
        self._urls: dict[str, str] = {}  # by path

    def local(self, url: str, artifact: str) -> str:
        """Path of the copy; ``artifact`` is its name in the error."""
        for scheme, folder in LAUNCHER_PATHS.items():
            if url.startswith(scheme):
                path = self._root + folder + url.removeprefix(scheme)
                self._urls[path] = url
                return path
        raise EntrypointError(
            f"The artifact {artifact} has the URI {url!r}, which KFP does not copy; the "
            f"pipeline root must begin with {', '.join(LAUNCHER_PATHS)}."
        )

    def remote(self, value: str) -> str:
        """The URL for the path of a copy, or for one below it; any other value unchanged."""
        for path, url in self._urls.items():
            if value == path or value.startswith(f"{path}/"):
                return url + value.removeprefix(path)
        return value


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
            _restore(artifact, name)
    for name, found in request.outputs.artifacts.items():
        for artifact in found.artifacts:
            artifact.uri = paths.local(artifact.uri, name)


def _restore(artifact: pb.RuntimeArtifact, name: str) -> None:
    """Takes the properties that ``keep_small`` moved to a file, if the file is still the same.

    Raises:
        InputError: Somebody else wrote it: whether a model may be pushed depends on it.
    """
    kept = Path(artifact.uri, KEPT_FILE)
    content = kept.read_bytes() if kept.is_file() else b""
    fields = artifact.metadata.fields
    is_recorded = KEPT_PROPERTY in fields  # asking for a field that is missing would add it
    recorded = fields[KEPT_PROPERTY].string_value if is_recorded else ""
    if is_recorded:
        del fields[KEPT_PROPERTY]
    digest = short_digest(content) if content else ""
    if (is_recorded or DECISIONS & set(fields)) and recorded != digest:
        raise InputError(
            f"The file {KEPT_FILE} of the artifact {name} is not the one that its task wrote, in "
            f"{artifact.metadata[ORIGIN_PROPERTY]}; find out who writes there, and run again "
            "without KFP's cache."
        )
    for key, value in json.loads(content or b"{}").items():
        if key not in artifact.metadata:  # what KFP's database has is what counts
            artifact.metadata[key] = value


def _remove_remains(request: pb.ExecutorInput) -> None:
    """Removes what an earlier start of the node in this pod has written."""
    for found in request.outputs.artifacts.values():
        for artifact in found.artifacts:
            shutil.rmtree(artifact.uri, ignore_errors=True)


def mark_empty(answer: pb.ExecutorOutput) -> None:
    """Marks outputs without files, as an object store drops empty directories."""
    for found in answer.artifacts.values():
        for artifact in found.artifacts:
            is_directory = os.path.isdir(artifact.uri)
            if is_directory and not any(files for _, _, files in os.walk(artifact.uri)):
                artifact.metadata[EMPTY_PROPERTY] = 1


def keep_small(answer: pb.ExecutorOutput, paths: Paths) -> None:
    """Moves what is long in the metadata of a directory to a file in it, which the next pod reads.

    KFP hands all metadata of its inputs to a node and keeps some six copies of it in the workflow,
    whose size has a limit. What it would add itself, the access to the bucket as nested JSON, is
    left empty: without it KFP's web page uses the access that it has.
    """
    for found in answer.artifacts.values():
        for artifact in found.artifacts:
            long = {
                name: paths.remote(value)
                for name, value in artifact.metadata.items()
                if isinstance(value, str) and len(value) > LONGEST_PROPERTY and name not in SHOWN
            }
            if long and os.path.isdir(artifact.uri):
                content = json.dumps(long).encode()
                write_whole(Path(artifact.uri, KEPT_FILE), content)
                for name in long:
                    del artifact.metadata.fields[name]
                if DECISIONS & set(artifact.metadata.fields):
                    artifact.metadata[KEPT_PROPERTY] = short_digest(content)
            artifact.metadata[SESSION_PROPERTY] = ""


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


class _Parser(argparse.ArgumentParser):
    """Says in one sentence that the command line is that of other code."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"This image does not know the package's command ({message}). {OTHER_CODE}\n")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        "python -m pipeline.kubeflow.entrypoint", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("node_id", help="A node, or several with commas, which run in turn.")
    parser.add_argument("request", help="KFP's executor input, as JSON.")
    parser.add_argument("--settings", required=True, help="Digest of each node's parameters.")
    parser.add_argument("--code", help="Fingerprint of the code, for KFP's cache only.")
    return parser.parse_args(argv)


def _run_id(given: Mapping[str, str]) -> str | None:
    value = given.get(RUN_ID, "")
    return None if not value or value.startswith("{{") else value


def _run_example_gen_driver(request: pb.ExecutorInput, inputs_spec: pb.ComponentInputsSpec) -> None:
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
            json_serialized_inputs_spec_args=json_format.MessageToJson(inputs_spec),
        )
    )
    with open(request.outputs.output_file, encoding="utf-8") as file:
        answer = json_format.Parse(file.read(), pb.ExecutorOutput())
    for name, value in answer.parameter_values.items():
        request.inputs.parameter_values[name].CopyFrom(value)
    for name, found in answer.artifacts.items():
        request.outputs.artifacts[name].artifacts[0].metadata.update(found.artifacts[0].metadata)


def _execute(
    node: Node, request: pb.ExecutorInput, run_id: str | None
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
        request.inputs.parameter_values, request.inputs.parameters, node.inputs
    )
    outputs_utils.make_output_dirs(outputs)  # as a run on this machine does
    executor_class = import_utils.import_class_by_path(node.executor)
    common: dict[str, Any] = {"unique_id": run_id or "run", "pipeline_run_id": run_id}
    with tempfile.TemporaryDirectory() as folder:
        common["tmp_dir"] = folder
        if issubclass(executor_class, base_beam_executor.BaseBeamExecutor):
            context = executor_class.Context(beam_pipeline_args=node.flags, **common)
        else:
            context = base_executor.BaseExecutor.Context(extra_flags=node.flags, **common)
        executor_class(context).Do(inputs, outputs, properties)
    return utils.translate_executor_output(outputs, names)


if __name__ == "__main__":
    sys.exit(main())
