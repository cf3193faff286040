"""Baseline statistics of a data directory: known good data, against which drift is measured.

Contract: a data directory may hold ``baseline.pbtxt``, statistics of its splits train and test;
without it drift is not measured. ``write_baseline`` writes it, and a schema if there is none, for a
customer's own data; 70,000 images take about 2 s.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from google.protobuf import text_format

from components.data_gate import gate
from components.data_gate.schema import (
    SCHEMA_FILE,
    label_domain,
    parse,
    read_schema,
    read_text,
    without_image,
)
from components.idx_example_gen import encode, idx, scalars, storage
from core.config import InputError
from core.files import write_whole

if TYPE_CHECKING:
    import numpy as np
    from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

    Statistics = statistics_pb2.DatasetFeatureStatisticsList

BASELINE_FILE = "baseline.pbtxt"
_IMAGES_PER_BLOCK = 2000

_LOG = logging.getLogger(__name__)


def read_baseline(data_dir: str) -> dict[str, Statistics] | None:
    """Reads the baseline's statistics by split, or None if the directory has none.

    Raises:
        InputError: The file does not hold such statistics, or a split is missing.
    """
    from tensorflow_metadata.proto.v0 import statistics_pb2

    text = read_text(data_dir, BASELINE_FILE)
    if text is None:
        return None
    path = storage.join(data_dir, BASELINE_FILE)
    together = parse(text, statistics_pb2.DatasetFeatureStatisticsList(), path)
    splits = {dataset.name: dataset for dataset in together.datasets}
    if set(splits) != set(idx.FILE_PREFIX):
        raise InputError(
            f"{path} holds statistics of {sorted(splits)}, not of train and test; write it again "
            f"with: inkwell baseline --data {data_dir}"
        )
    return {
        split: statistics_pb2.DatasetFeatureStatisticsList(datasets=[dataset])
        for split, dataset in splits.items()
    }


def write_baseline(data_dir: str) -> list[str]:
    """Declares the data in ``data_dir`` good: writes its baseline, and a schema if it has none.

    A schema that is there already is kept, as it may have been edited by hand.

    Returns:
        The paths written.

    Raises:
        InputError: The IDX files are faulty, or their statistics do not fit the schema; nothing is
            written then.
    """
    from tensorflow_metadata.proto.v0 import statistics_pb2

    schema = read_schema(data_dir)
    splits = compute_splits(data_dir, schema)
    gate.require_clean(gate.inspect(splits, without_image(schema)))
    written = []
    if read_text(data_dir, SCHEMA_FILE) is None:
        label_domain(schema).max = max(gate.class_counts(splits["train"]))
        written.append(_write_text(data_dir, SCHEMA_FILE, _SCHEMA_HEAD, schema))
    together = statistics_pb2.DatasetFeatureStatisticsList()
    for split in idx.FILE_PREFIX:
        together.datasets.add().CopyFrom(_slim(splits[split].datasets[0]))
        together.datasets[-1].name = split
    written.append(_write_text(data_dir, BASELINE_FILE, _BASELINE_HEAD, together))
    _LOG.info("Baseline of %s written: %s", data_dir, ", ".join(written))
    return written


def compute_splits(data_dir: str, schema: schema_pb2.Schema) -> dict[str, Statistics]:
    """Statistics of train, eval and test as ExampleGen would split the directory."""
    train, test = idx.read_idx_pair(data_dir, "train"), idx.read_idx_pair(data_dir, "test")
    is_eval = encode.choose_eval(train.images)
    return {
        "train": compute_statistics(train.images[~is_eval], train.labels[~is_eval], schema),
        "eval": compute_statistics(train.images[is_eval], train.labels[is_eval], schema),
        "test": compute_statistics(test.images, test.labels, schema),
    }


def compute_statistics(
    images: np.ndarray, labels: np.ndarray, schema: schema_pb2.Schema
) -> Statistics:
    """The statistics that StatisticsGen makes of these images, without those of the pixels.

    Args:
        images: uint8 [N, 28, 28].
        labels: uint8 [N].
        schema: Says that the label is categorical.
    """
    import numpy as np
    import pandas as pd
    import tensorflow_data_validation as tfdv

    blocks = [
        scalars.compute_scalars(images[start : start + _IMAGES_PER_BLOCK])
        for start in range(0, len(images), _IMAGES_PER_BLOCK)
    ]
    columns = {name: np.concatenate([block[name] for block in blocks]) for name in scalars.NAMES}
    frame = pd.DataFrame({**columns, "label": labels.astype(np.int64)})
    return tfdv.generate_statistics_from_dataframe(frame, tfdv.StatsOptions(schema=schema))


_SCHEMA_HEAD = """\
# Schema of this data set; written by `inkwell baseline` from the generic one. Edit it freely.
"""
_BASELINE_HEAD = """\
# Statistics of known good data, against which the data gate measures drift; written by
# `inkwell baseline --data DIR`. Write it again when the data changes on purpose.
"""


def _slim(dataset):
    """Drops what no comparator reads: the histograms of how many values an example has."""
    for feature in dataset.features:
        stats = getattr(feature, feature.WhichOneof("stats"))
        stats.common_stats.ClearField("num_values_histogram")
    return dataset


def _write_text(data_dir: str, name: str, head: str, message) -> str:
    path = os.path.join(data_dir, name)
    try:
        write_whole(path, head + text_format.MessageToString(message))
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}); make the data directory writable."
        ) from None
    return path
