"""The node ``example-gen``: TFX's FileBasedExampleGen with our executor in it.

Contract: output ``examples`` with the splits train and eval (11 to 1, from the file of 60,000) and
test (the file of 10,000, which only evaluation reads).
"""

import dataclasses

from google.protobuf import struct_pb2
from tfx.components.example_gen import component
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2

from components.idx_example_gen import encode, executor, idx, s3
from components.idx_example_gen.config import DataConfig

# TensorFlow cannot list s3://, so TFX's driver finds no file there; the digest stands for them.
_NOWHERE = "no-such-directory"


def make_example_gen(
    data_dir: str, config: DataConfig, content: str = ""
) -> component.FileBasedExampleGen:
    """Builds the node that reads the images of ``data_dir``.

    TFX's driver fingerprints what the patterns match by size and time stamp: files of MNIST's own
    names. The digest of the contents, as part of the settings, catches the rest: every other name
    and format, and a file replaced with its time stamp kept.

    Args:
        data_dir: Directory of the files.
        config: What to read, and how many images.
        content: ``data.digest`` of the files that the node shall read, which fails if it reads
            others; empty where it is not known.
    """
    settings = struct_pb2.Struct()
    settings.update({k: v for k, v in dataclasses.asdict(config).items() if k != "allow"})
    settings["content"], settings["data_dir"] = content, data_dir
    custom_config = example_gen_pb2.CustomConfig()
    custom_config.custom_config.Pack(settings)
    split = example_gen_pb2.Input.Split
    output_split = example_gen_pb2.SplitConfig.Split
    return component.FileBasedExampleGen(
        input_base=_NOWHERE if data_dir.startswith(s3.SCHEME) else data_dir,
        # The patterns match plain and gzip files, but not labels.txt.
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
                    output_split(name="train", hash_buckets=encode.TRAIN_BUCKETS),
                    output_split(name="eval", hash_buckets=encode.EVAL_BUCKETS),
                ]
            )
        ),
        custom_config=custom_config,
        custom_executor_spec=executor_spec.BeamExecutorSpec(executor.IdxExampleGenExecutor),
    ).with_id("example-gen")
