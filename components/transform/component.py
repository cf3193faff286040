"""The node ``transform``: TFX's Transform with our preprocessing_fn.

Contract: analyses the train split alone and transforms train, eval and test.
"""

from __future__ import annotations

from tfx import types
from tfx.components.transform import component
from tfx.proto import transform_pb2

NODE_ID = "transform"
SPLITS = ("train", "eval", "test")


def make_transform(examples: types.BaseChannel, schema: types.BaseChannel) -> component.Transform:
    """Builds the node; its statistics are off, as StatisticsGen has made them of the raw data."""
    return component.Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn="components.transform.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=list(SPLITS)),
        force_tf_compat_v1=False,
        disable_statistics=True,
        # The pipeline hands no cache of an earlier span in, so writing one would be for nothing.
        disable_analyzer_cache=True,
    ).with_id(NODE_ID)
