"""Parquet and CSV files: a row per image, as the Hugging Face Hub and Kaggle hold them.

Contract: the image is a column of PNG files or of lists, or a column per pixel; the label is the
column of that name, or the first of 785 where there are no names. A file's name, or that of its
folder, tells its split.
"""

import gzip
import io
import posixpath
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from components.idx_example_gen import folders, names, storage
from components.idx_example_gen.arrays import Raw, Say, to_images, to_labels
from core.config import InputError
from core.images import PIXELS

if TYPE_CHECKING:
    import pyarrow as pa

_PARQUET, _CSV = (".parquet", ".pq"), (".csv", ".tsv")
_ROWS_AT_ONCE, _BYTES_AT_ONCE = 1000, 1 << 24
_LABELS = ("label", "labels", "class", "target", "y", "digit", "category", "fine_label")
_IMAGES = ("image", "img", "images", "pixels", "x")


def find_parquet(paths: Sequence[str], splits: Sequence[str], data_dir: str) -> list[str] | None:
    """The parquet files among ``paths``; None if there is none."""
    del splits, data_dir
    return [path for path in paths if names.ending(path) in _PARQUET] or None


def find_csv(paths: Sequence[str], splits: Sequence[str], data_dir: str) -> list[str] | None:
    """The CSV files among ``paths`` whose names tell a split, else all; None if there is none."""
    del splits, data_dir
    found = [path for path in paths if names.ending(path) in _CSV]
    return [path for path in found if names.split_of(path)] or found or None


def read(files: storage.Files, say: Say) -> dict[str, Raw]:
    """Images and labels by split; train where no name tells a split.

    Raises:
        InputError: A file is damaged, or its columns are not those of images.
    """
    parts: dict[str, list[str]] = {}
    for path in files.paths:
        parts.setdefault(names.split_of(path) or "train", []).append(path)
    if parts.pop("validation", None):
        say("The validation rows are left out; a part of the train images is held out instead.")
    result = {}
    converted: dict[str, int] = {}
    for split, paths in parts.items():
        found = [_read_one(files.read(p), files.where(p), say, converted) for p in paths]
        where = found[0].where
        labels = None if found[0].labels is None else _joined(found)
        result[split] = Raw(np.concatenate([one.images for one in found]), labels, where, where)
    for mode, count in converted.items():
        say(f"{count:,} images of Pillow's mode {mode} read as grey.")
    return result


def _joined(found: Sequence[Raw]) -> np.ndarray:
    labels = [one.labels for one in found if one.labels is not None]
    if len(labels) < len(found):
        raise InputError(f"{found[0].where} has labels but a file of the same split has none.")
    return np.concatenate(labels)


def _read_one(content: bytes, where: str, say: Say, converted: dict[str, int]) -> Raw:
    table = _parquet(content, where) if names.ending(where) in _PARQUET else _csv(content, where)
    if not table.num_rows:
        raise InputError(f"{where} holds no rows; write some to it.")
    _check_names(table, where)
    columns = {name.strip().lower(): name for name in table.column_names}
    label = next((columns[name] for name in _LABELS if name in columns), None)
    image = next((columns[name] for name in _IMAGES if name in columns), None)
    rest = [name for name in table.column_names if name != label]
    if label is None and len(rest) == PIXELS + 1:
        label, *rest = rest
        say(f"{where}: no column is named label, so the first is read as the label.")
    if image is None and len(rest) != PIXELS:
        shown = ", ".join(table.column_names[:5]) + (", ..." if table.num_columns > 5 else "")
        raise InputError(
            f"{where} has {table.num_columns} columns ({shown}); a table of images has a column "
            f"label and either a column image or {PIXELS} columns of pixels."
        )
    if image is not None:
        images = _image_column(table.column(image), where, say, converted)
    else:
        images = to_images(_pixel_columns(table.select(rest), where), where, lambda line: None)
    if label is None:
        return Raw(images, None, where)
    values = table.column(label)
    if values.null_count:
        raise InputError(f"{where} has {values.null_count} rows without a label; remove them.")
    return Raw(images, to_labels(values.to_numpy(), where, say), where)


def _parquet(content: bytes, where: str) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        storage.check_memory(file.metadata.num_rows * PIXELS, where)
        batches, size = [], 0
        for batch in file.iter_batches(_ROWS_AT_ONCE):  # a few bytes can stand for many rows
            size += batch.nbytes
            storage.check_memory(size, where)
            batches.append(batch)
        table = pa.Table.from_batches(batches, file.schema_arrow)
        table.validate(full=True)  # its texts may be no UTF-8
        return table
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{where} is not a parquet file, or damaged ({_first_line(error)}); copy or download "
            "it again."
        ) from None


def _csv(content: bytes, where: str) -> "pa.Table":
    """The table of a CSV file, with or without a line of names."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        if where.lower().endswith(".gz"):
            content = _unpacked(content, where)
        line = content.split(b"\n", 1)[0].decode("utf-8-sig").strip()
        delimiter = max(",;\t", key=line.count)
        fields = [field.strip().strip('"') for field in line.split(delimiter)]
        is_named = not all(_is_number(field) for field in fields)
        options = csv.ReadOptions(autogenerate_column_names=not is_named, block_size=1 << 24)
        parsing = csv.ParseOptions(delimiter=delimiter)
        table = csv.read_csv(pa.BufferReader(content), options, parsing)
    except (pa.ArrowException, OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(
            f"{where} cannot be read as CSV ({_first_line(error)}); fix that row or save it again."
        ) from None
    if not table.column_names[0]:  # the row numbers that pandas writes
        table = table.remove_column(0)
    return table


def _check_names(table: "pa.Table", where: str) -> None:
    name, count = Counter(table.column_names).most_common(1)[0]
    if count > 1:
        raise InputError(f"{where} has {count} columns named {name}; give each a name of its own.")


def _unpacked(content: bytes, where: str) -> bytes:
    parts, size = [], 0
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        while part := file.read(_BYTES_AT_ONCE):
            size += len(part)
            storage.check_memory(size, where)
            parts.append(part)
    return b"".join(parts)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _pixel_columns(table: "pa.Table", where: str) -> np.ndarray:
    """The columns side by side, [N, 784]."""
    import pyarrow as pa

    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count or not (
            pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        ):
            raise InputError(
                f"Column {name} of {where} is not all numbers; each is the brightness of a pixel."
            )
    storage.check_memory(table.num_rows * PIXELS * 8, where)
    return np.stack([column.to_numpy() for column in table.columns], axis=1)


def _image_column(
    column: "pa.ChunkedArray", where: str, say: Say, converted: dict[str, int]
) -> np.ndarray:
    """Images of a column of PNG files, bare or as the Hub has them, or of lists of pixels."""
    import pyarrow as pa

    if pa.types.is_struct(column.type):
        fields = {field.name for field in column.type}
        if "bytes" not in fields:
            raise InputError(
                f"The images of {where} have the fields {', '.join(sorted(fields))}, not bytes; "
                "save the files themselves in the table."
            )
        column = pa.chunked_array([chunk.field("bytes") for chunk in column.chunks])
    if column.null_count:
        raise InputError(f"{where} has {column.null_count} rows without an image; remove them.")
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return np.stack(
            [
                folders.decode(value.as_py(), f"row {row} of {where}", converted)
                for row, value in enumerate(column)
            ]
        )
    try:
        array = np.array(column.to_pylist())
    except ValueError:
        raise InputError(f"{where} has images of different sizes; make them all alike.") from None
    return to_images(array, where, say)


def _first_line(error: Exception) -> str:
    return posixpath.basename(str(error).strip().splitlines()[0])[:120] if str(error) else "cut"
