"""Baseline statistics of a data directory: known good data, against which drift is measured.

Contract: a data directory may hold ``baseline.pbtxt``, statistics of its splits train and test;
without it drift is not measured. ``write_baseline`` writes it, and a schema if there is none, for a
customer's own data; 70,000 images take about 2 s.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from google.protobuf import text_format

from components.data_gate import gate
from components.data_gate.schema import (
    SCHEMA_FILE,
    label_domain,
    parse,
    read_schema,
    read_text,
    relax,
    without,
    without_image,
)
from components.idx_example_gen import data, encode, findings, scalars, storage
from components.idx_example_gen.config import DataConfig
from core.config import InputError
from core.files import write_whole
from core.statistics import LABEL_NAME

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
    if set(splits) != set(data.SPLITS):
        raise InputError(
            f"{path} holds statistics of {sorted(splits)}, not of train and test; write it again "
            f"with: inkwell baseline --data {data_dir}"
        )
    return {
        split: statistics_pb2.DatasetFeatureStatisticsList(datasets=[dataset])
        for split, dataset in splits.items()
    }


def write_baseline(
    data_dir: str, config: DataConfig | None = None, to: str | None = None
) -> list[str]:
    """Declares the data in ``data_dir`` good: writes its baseline, and a schema if it has none.

    A schema that is there already is kept, as it may have been edited by hand.

    Args:
        data_dir: The directory.
        config: How to read it, and which faults are known.
        to: A new directory for the files and for links to those of ``data_dir``, where that cannot
            be written; it is the data directory from then on.

    Returns:
        The paths written.

    Raises:
        InputError: The files are faulty, or something is wrong with the images that ``allow`` does
            not name; nothing is written then.
    """
    from tensorflow_metadata.proto.v0 import statistics_pb2

    config = config or DataConfig()
    schema = relax(read_schema(data_dir), config.allow)
    pairs = data.read_data(data_dir, dataclasses.replace(config, max_images=None)).splits
    splits = compute_splits(pairs, schema)
    checks = gate.inspect(splits, without_image(schema), allow=config.allow)
    checks += gate.check_images(findings.find(pairs), config.allow)
    gate.require_clean(checks, config.allow)
    texts = {}
    if read_text(data_dir, SCHEMA_FILE) is None:
        label_domain(schema).max = max(gate.class_counts(splits["train"]))
        # ``read_schema`` adds the names as long as there are any.
        nameless = without(schema, LABEL_NAME)
        texts[SCHEMA_FILE] = _SCHEMA_HEAD + text_format.MessageToString(nameless)
    together = statistics_pb2.DatasetFeatureStatisticsList()
    for split in data.SPLITS:
        together.datasets.add().CopyFrom(_slim(splits[split].datasets[0]))
        together.datasets[-1].name = split
    texts[BASELINE_FILE] = _BASELINE_HEAD + text_format.MessageToString(together)
    if to is not None:
        _link_files(data_dir, to)
    written = _write_together(to or data_dir, texts)
    _LOG.info("Baseline of %s written: %s", data_dir, ", ".join(written))
    return written


def compute_splits(
    pairs: Mapping[str, data.Pair], schema: schema_pb2.Schema
) -> dict[str, Statistics]:
    """Statistics of train, eval and test as ExampleGen would split the images."""
    train, test = pairs["train"], pairs["test"]
    of_train, of_test = (scalars.measure_brightness(pair.images) for pair in (train, test))
    is_eval = encode.choose_eval(train.images)
    images, labels = train.images, train.labels
    return {
        "train": compute_statistics(images[~is_eval], labels[~is_eval], schema, of_train),
        "eval": compute_statistics(images[is_eval], labels[is_eval], schema, of_train),
        "test": compute_statistics(test.images, test.labels, schema, of_test),
    }


def compute_statistics(
    images: np.ndarray,
    labels: np.ndarray,
    schema: schema_pb2.Schema,
    brightness: scalars.Brightness | None = None,
) -> Statistics:
    """The statistics that StatisticsGen makes of these images, without those of the pixels.

    Args:
        images: uint8 [N, 28, 28].
        labels: uint8 [N].
        schema: Says that the label is categorical.
        brightness: Of the file; MNIST's by default.
    """
    import numpy as np
    import pandas as pd
    import tensorflow_data_validation as tfdv

    blocks = [
        scalars.compute_scalars(images[start : start + _IMAGES_PER_BLOCK], brightness)
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


def _link_files(data_dir: str, to: str) -> None:
    """Makes ``to`` a directory of links to what lies in ``data_dir``, but to no older baseline."""
    if storage.exists(to) or os.path.lexists(to):
        raise InputError(f"{to} exists already; name a new directory with --to.")
    try:
        os.makedirs(to)
        for name in sorted(os.listdir(data_dir)):
            if name != BASELINE_FILE:
                os.symlink(os.path.abspath(os.path.join(data_dir, name)), os.path.join(to, name))
    except OSError as error:
        raise InputError(
            f"Links to the files of {data_dir} cannot be made in {to} ({error.strerror}); name "
            "another directory with --to."
        ) from None


def _write_together(data_dir: str, texts: Mapping[str, str]) -> list[str]:
    """Writes all of the files or, where one cannot be written, none; returns their paths."""
    written: list[str] = []
    for name, text in texts.items():
        path = os.path.join(data_dir, name)
        try:
            write_whole(path, text)
        except OSError as error:
            for other in written:
                os.remove(other)
            raise InputError(
                f"{path} cannot be written ({error.strerror}); {_remedy(error, path)}."
            ) from None
        written.append(path)
    return written


def _remedy(error: OSError, path: str) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space"
    if os.path.isdir(path):
        return "remove the directory of that name"
    return "make the data directory writable, or name another place with --to"
