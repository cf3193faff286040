"""What the node is told to look at; the pipeline's data tests run it."""

from google.protobuf import json_format
from tfx.proto import transform_pb2
from tfx.types import channel, standard_artifacts

from components.transform.component import make_transform


def test_only_the_train_split_is_analysed_and_every_split_is_transformed():
    node = make_transform(
        channel.Channel(type=standard_artifacts.Examples),
        channel.Channel(type=standard_artifacts.Schema),
    )
    config = json_format.Parse(node.exec_properties["splits_config"], transform_pb2.SplitsConfig())
    assert list(config.analyze) == ["train"]
    assert list(config.transform) == ["train", "eval", "test"]
