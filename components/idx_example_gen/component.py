"""The node ``example-gen``: TFX's FileBasedExampleGen with the IDX executor in it.

Contract: output ``examples`` with the splits train and eval (11 to 1, from the file of 60,000) and
test (the file of 10,000, which only evaluation reads).
"""

from __future__ import annotations

import hashlib

from google.protobuf import struct_pb2
from tfx.components.example_gen import component
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2

from components.idx_example_gen import executor, idx
from components.idx_example_gen.config import DataConfig

NODE_ID = "example-gen"
_TRAIN_BUCKETS, _EVAL_BUCKETS = 11, 1  # 60,000 images of MNIST give 55,000 and 5,000


def make_example_gen(data_dir: str, config: DataConfig) -> component.FileBasedExampleGen:
    """Builds the node that reads the four IDX files of ``data_dir``.

    TFX's driver fingerprints what the patterns match by size and time stamp; the digest of the
    contents, part of the settings where the directory can be read now, catches the rest (a file
    replaced with its time stamp kept) and also breaks the cache of Kubeflow, which runs no driver.
    """
    settings = struct_pb2.Struct()
    settings["max_images"] = config.max_images
    settings["content"] = _digest(data_dir)
    custom_config = example_gen_pb2.CustomConfig()
    custom_config.custom_config.Pack(settings)
    split = example_gen_pb2.Input.Split
    output_split = example_gen_pb2.SplitConfig.Split
    return component.FileBasedExampleGen(
        input_base=data_dir,
        # The patterns match a file both plain and as gzip; labels.txt is matched by neither.
        input_config=example_gen_pb2.Input(
            splits=[
                split(name=source, pattern=f"{prefix}-*-ubyte*")
                for source, prefix in idx.FILE_PREFIX.items()
            ]
        ),
        # The ratio by which the executor divides the training file.
        output_config=example_gen_pb2.Output(
            split_config=example_gen_pb2.SplitConfig(
                splits=[
                    output_split(name="train", hash_buckets=_TRAIN_BUCKETS),
                    output_split(name="eval", hash_buckets=_EVAL_BUCKETS),
                ]
            )
        ),
        custom_config=custom_config,
        custom_executor_spec=executor_spec.BeamExecutorSpec(executor.IdxExampleGenExecutor),
    ).with_id(NODE_ID)


def _digest(data_dir: str) -> str:
    """SHA-256 over the IDX files and the label names, or "" where they cannot be read now."""
    digest = hashlib.sha256()
    try:
        for split in idx.FILE_PREFIX:
            for path in idx.find_files(data_dir, split):
                digest.update(idx.read_bytes(path))
    except idx.InputError:
        return ""  # compiled for a cluster elsewhere, or a mistake that the node itself reports
    digest.update(repr(idx.read_label_names(data_dir)).encode())
    return digest.hexdigest()
