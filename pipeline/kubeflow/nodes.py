"""What a node is told and made of, resolved in its pod from the settings of package and run.

Contract: the node is the one that TFX would have compiled into the package with all the settings of
the run. The pipeline is assembled here, in half a second besides the seven of importing TFX.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from core.config import InputError, from_dict
from pipeline.config import RunConfig, override
from pipeline.kubeflow import settings
from pipeline.kubeflow.spec import CONTENT, DATA_URI, OVERRIDES, THRESHOLDS, constants
from pipeline.plan import NODES

if TYPE_CHECKING:
    from kfp.pipeline_spec import pipeline_spec_pb2 as pb

OTHER_CODE = "Build the images and compile the pipeline from the same commit."
_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Node:
    """What TFX would write of a node into the pipeline spec, for its own entrypoint."""

    executor: str  # import path of its class
    inputs: pb.ComponentInputsSpec  # artifacts with their types, and types of the parameters
    parameters: Mapping[str, Any]
    flags: list[str]  # of Beam
    reads: Mapping[str, tuple[str, str]]  # by input: the node and the output that it comes from


def resolve_node(node_id: str, digest: str, given: Mapping[str, str]) -> Node:
    """The node in the pipeline that this run's settings make.

    Args:
        node_id: Its id.
        digest: Digest of its parameters when the pipeline was compiled.
        given: What the run gives the node: parameters of the run, and digests of the data.

    Raises:
        InputError: A setting of the run is wrong, or this image is not of the package's commit.
    """
    from pipeline.kubeflow.cluster import load_cluster
    from pipeline.kubeflow.compiler import tfx_spec

    words = os.environ.get(settings.VARIABLE, "")
    try:
        config = settings.config_of(words)
    except (InputError, ValueError) as error:
        raise InputError(
            f"This image cannot read the package's settings: {error} {OTHER_CODE}"
        ) from None
    spec, _ = tfx_spec(config, load_cluster())
    if node_id not in NODES or settings.digest(constants(spec, node_id)) != digest:
        raise InputError(
            f"This image has other settings for the node than the package. {OTHER_CODE}"
        )
    changed = overridden_config(given, config)
    if changed is not None or CONTENT in given:
        content = {node_id: given.get(CONTENT, "")}
        spec, _ = tfx_spec(changed or config, load_cluster(), content)
        _LOG.info("What this run gives the node: %s", given)
    return read_node(spec, node_id)


def read_node(spec: dict[str, Any], node_id: str) -> Node:
    """The node in a pipeline spec as TFX writes it."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2 as pb

    words = spec["deploymentSpec"]["executors"][f"{node_id}_executor"]["container"]["args"]
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--executor_class_path")
    parser.add_argument("--json_serialized_invocation_args")
    parser.add_argument("--json_serialized_inputs_spec_args", default="{}")
    known, flags = parser.parse_known_args(words)
    inputs = json_format.Parse(known.json_serialized_inputs_spec_args, pb.ComponentInputsSpec())
    sources = spec["root"]["dag"]["tasks"][node_id].get("inputs", {}).get("artifacts", {})
    reads = {
        name: (found["producerTask"], found["outputArtifactKey"])
        for name, source in sources.items()
        for found in [source["taskOutputArtifact"]]
    }
    return Node(known.executor_class_path, inputs, constants(spec, node_id), flags, reads)


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
