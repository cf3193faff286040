"""The node ``transform``: TFX's Transform with our preprocessing_fn.

Contract: analyses only the train split and transforms train, eval and test.
"""

from tfx import types
from tfx.components.transform import component
from tfx.dsl.components.base import executor_spec
from tfx.proto import transform_pb2

from components.beam_nodes import TransformExecutor

SPLITS = ("train", "eval", "test")


def make_transform(examples: types.BaseChannel, schema: types.BaseChannel) -> component.Transform:
    """Builds the node; its statistics are off, as StatisticsGen has made them of the raw data."""
    node = component.Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn="components.transform.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=list(SPLITS)),
        force_tf_compat_v1=False,
        disable_statistics=True,
        # The pipeline passes no cache of an earlier span, so writing one would be useless.
        disable_analyzer_cache=True,
    )
    node.executor_spec = executor_spec.BeamExecutorSpec(TransformExecutor)
    return node.with_id("transform")
