"""Beam executor of ExampleGen: images in, tf.Examples of splits train, eval and test out.

Contract: what is wrong with the images is written next to the splits, for the data gate, and stops
nothing here. gzip TFRecords, one file per split, records in the order of the files, the same bytes
in every run. The files are read and checked before the Beam graph is built, so a user's mistake
reaches the command line as an ``InputError``. A Beam element is a block of images: with one element
per image Beam itself cost more than the work (2,000 images/s).
"""

import dataclasses
import functools
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
from google.protobuf import json_format, struct_pb2
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components.beam_nodes import on_workers
from components.idx_example_gen import data, encode, findings, scalars
from components.idx_example_gen.config import DataConfig
from core.origin import DATA_PROPERTY

SPLITS = ("train", "eval", "test")
FILE_NAME = "data_tfrecord-00000-of-00001.gz"
LABEL_NAMES_PROPERTY = "label_names"
_IMAGES_PER_BLOCK = 1000

_LOG = logging.getLogger(__name__)


class IdxExampleGenExecutor(base_beam_executor.BaseBeamExecutor):
    """Reads the images of a data directory; see ``component.make_example_gen``."""

    @on_workers
    def Do(self, input_dict, output_dict, exec_properties) -> None:
        """Writes the splits and sets the properties that TFX's other components read.

        Raises:
            InputError: The data directory lacks a file, a file is faulty, or the files are not
                those of the digest in the settings.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        settings = _settings(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
        data_dir, config = settings["data_dir"], _data_config(settings)
        buckets = _split_buckets(exec_properties[standard_component_specs.OUTPUT_CONFIG_KEY])

        _read.cache_clear()  # the files may have changed since an earlier run of this process
        found = _read(data_dir, config)
        for line in found.said:
            _LOG.info("%s", line)
        blocks, brightness = [], {}
        for source, pair in found.splits.items():
            count = len(pair.labels)
            _LOG.info("%s: %d images from %s", source, count, data_dir)
            brightness[source] = scalars.measure_brightness(pair.images)
            blocks += [(source, start) for start in range(0, count, _IMAGES_PER_BLOCK)]
        content = data.digest(data_dir, read=found.files)
        data.check_unchanged(settings["content"], content, data_dir)

        [artifact] = output_dict[standard_component_specs.EXAMPLES_KEY]
        artifact.split_names = artifact_utils.encode_split_names(list(SPLITS))
        examples_utils.set_payload_format(artifact, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(artifact, "tfrecords_gzip")
        if found.names is not None:
            artifact.set_string_custom_property(LABEL_NAMES_PROPERTY, json.dumps(found.names))
        # Without `allow`, which is of the data gate alone.
        how = {name: getattr(config, name) for name in ("max_images", "format", "transpose")}
        read = json.dumps({"digest": content, **how, "spans": found.spans})
        artifact.set_string_custom_property(DATA_PROPERTY, read)
        for split in SPLITS:
            fileio.makedirs(artifact_utils.get_split_uri([artifact], split))
        rows = [dataclasses.asdict(finding) for finding in findings.find(found.splits)]
        with fileio.open(os.path.join(artifact.uri, findings.FINDINGS_FILE), "w") as file:
            file.write(json.dumps(rows, indent=1))

        with self._make_beam_pipeline() as pipeline:
            _ = (
                pipeline
                | "Blocks" >> beam.Create(blocks)
                | "Spread" >> beam.Reshuffle()
                | "Encode" >> beam.ParDo(_EncodeBlock(data_dir, config, brightness, *buckets))
                | "GatherSplit" >> beam.GroupByKey()
                | "WriteSplit" >> beam.MapTuple(functools.partial(_write_split, artifact.uri))
            )
        _read.cache_clear()


class _EncodeBlock(beam.DoFn):
    """(source, first image) -> (split, (first image, serialised examples)) for its splits."""

    def __init__(
        self,
        data_dir: str,
        config: DataConfig,
        brightness: Mapping[str, scalars.Brightness],
        train_buckets: int,
        eval_buckets: int,
    ):
        self._source = (data_dir, config)
        self._brightness = brightness
        self._buckets = (train_buckets, eval_buckets)

    def process(self, block: tuple[str, int]) -> Iterator[tuple[str, tuple[int, list[bytes]]]]:
        source, start = block
        found = _read(*self._source)
        pair = found.splits[source]
        rows = slice(start, start + _IMAGES_PER_BLOCK)
        images, labels = pair.images[rows], pair.labels[rows]
        write = functools.partial(
            encode.encode_examples, brightness=self._brightness[source], names=found.names
        )
        if source == "test":
            yield "test", (start, write(images, labels))
            return
        is_eval = encode.choose_eval(images, *self._buckets)
        for split, chosen in (("train", ~is_eval), ("eval", is_eval)):
            yield split, (start, write(images[chosen], labels[chosen]))


@functools.lru_cache(maxsize=1)
def _read(data_dir: str, config: DataConfig) -> data.Data:
    """Reads the data once per process: the executor for its check, then a worker for its blocks."""
    return data.read_data(data_dir, config)


def _write_split(examples_uri: str, split: str, blocks: Iterable[tuple[int, list[bytes]]]) -> None:
    """Writes the records of one split in file order.

    TensorFlow's writer leaves the time stamp of the gzip header zero, which Python's does not.
    """
    import tensorflow as tf

    path = os.path.join(examples_uri, f"Split-{split}", FILE_NAME)
    with tf.io.TFRecordWriter(path, tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for _, records in sorted(blocks, key=lambda block: block[0]):
            for record in records:
                writer.write(record)


def _settings(custom_config_json: str) -> dict[str, Any]:
    config = example_gen_pb2.CustomConfig()
    proto_utils.json_to_proto(custom_config_json, config)
    settings = struct_pb2.Struct()
    config.custom_config.Unpack(settings)
    return json_format.MessageToDict(settings)


def _data_config(settings: dict[str, Any]) -> DataConfig:
    """The settings of ``make_example_gen``; a Struct has made every number a float."""

    def count(name: str) -> int | None:
        return None if settings[name] is None else int(settings[name])

    return DataConfig(
        max_images=count("max_images"),
        spans=count("spans"),
        format=settings["format"],
        transpose=settings["transpose"],
    )


def _split_buckets(output_config_json: str) -> tuple[int, int]:
    config = example_gen_pb2.Output()
    proto_utils.json_to_proto(output_config_json, config)
    buckets = {split.name: split.hash_buckets for split in config.split_config.splits}
    return buckets["train"], buckets["eval"]
