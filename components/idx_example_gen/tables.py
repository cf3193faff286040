"""Parquet and CSV files: a row per image, as the Hugging Face Hub and Kaggle hold them.

Contract: the image is a column of PNG files or of lists, or a column per pixel; the label is the
column of that name, or the first of 785 where there are no names. A file's name, or that of its
folder, tells its split.
"""

import dataclasses
import gzip
import io
import posixpath
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from components.idx_example_gen import folders, names, spool, storage
from components.idx_example_gen.arrays import Raw, Say, to_images, to_labels
from core.config import InputError
from core.images import HEIGHT, PIXELS, WIDTH

if TYPE_CHECKING:
    import pyarrow as pa

_PARQUET, _CSV = (".parquet", ".pq"), (".csv", ".tsv")
_ROWS_AT_ONCE, _BUFFER = 1000, 1 << 20  # rows, bytes of a column
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
        found = [_read_one(files.open(p), files.where(p), say, converted) for p in paths]
        where = found[0].where
        labels = None if found[0].labels is None else _joined(found)
        images = found[0].images
        if len(found) > 1:
            all_of = (b.tobytes() for one in found for b in spool.blocks(one.images))
            images = spool.Spool(where).add_all(all_of).array().reshape(-1, HEIGHT, WIDTH)
        result[split] = Raw(images, labels, where, where)
    for mode, count in converted.items():
        say(f"{count:,} images of Pillow's mode {mode} read as grey.")
    return result


def _joined(found: Sequence[Raw]) -> np.ndarray:
    labels = [one.labels for one in found if one.labels is not None]
    if len(labels) < len(found):
        raise InputError(f"{found[0].where} has labels but a file of the same split has none.")
    return np.concatenate(labels)


def _read_one(content: BinaryIO, where: str, say: Say, converted: dict[str, int]) -> Raw:
    tables = _parquet(content, where) if names.ending(where) in _PARQUET else _csv(content, where)
    columns, count = None, 0
    images, labels = _Rows(where), []
    for table in tables:
        columns = columns or _choose_columns(table.column_names, where, say)
        if not table.num_rows:
            continue
        if columns.image is not None:
            column = table.column(columns.image)
            images.add(_image_column(column, where, count, converted))
        else:
            images.add(_pixel_columns(table.select(columns.pixels), where))
        if columns.label is not None:
            values = table.column(columns.label)
            if values.null_count:
                raise InputError(f"{where} has rows without a label; remove them.")
            labels.append(values.to_numpy())
        count += table.num_rows
    if columns is None or not count:
        raise InputError(f"{where} holds no rows; write some to it.")
    silent = columns.image is None  # a column for each pixel is always of numbers
    found = to_images(images.array(), where, (lambda line: None) if silent else say)
    if columns.label is None:
        return Raw(found, None, where)
    return Raw(found, to_labels(np.concatenate(labels), where, say), where)


@dataclasses.dataclass(frozen=True)
class _Columns:
    """Which columns of a table are what."""

    label: str | None
    image: str | None
    pixels: list[str]  # one column for each, where there is no ``image``


def _choose_columns(all_of: list[str], where: str, say: Say) -> _Columns:
    _check_names(all_of, where)
    columns = {name.strip().lower(): name for name in all_of}
    label = next((columns[name] for name in _LABELS if name in columns), None)
    image = next((columns[name] for name in _IMAGES if name in columns), None)
    rest = [name for name in all_of if name != label]
    if label is None and len(rest) == PIXELS + 1:
        label, *rest = rest
        say(f"{where}: no column is named label, so the first is read as the label.")
    if image is None and len(rest) != PIXELS:
        shown = ", ".join(all_of[:5]) + (", ..." if len(all_of) > 5 else "")
        raise InputError(
            f"{where} has {len(all_of)} columns ({shown}); a table of images has a column "
            f"label and either a column image or {PIXELS} columns of pixels."
        )
    return _Columns(label, image, rest)


class _Rows:
    """Blocks of images [N, ...] of one type and shape, joined."""

    def __init__(self, where: str):
        self._where, self._spool = where, spool.Spool(where)
        self._kind: tuple[np.dtype, tuple[int, ...]] | None = None

    def add(self, block: np.ndarray) -> None:
        if block.dtype.hasobject:
            to_images(block, self._where, lambda line: None)  # says what is wrong
        kind = (block.dtype, block.shape[1:])
        if self._kind not in (None, kind):
            raise _different(self._where)
        self._kind = kind
        self._spool.add(block.tobytes())

    def array(self) -> np.ndarray:
        """All of them; there must be some."""
        element, shape = self._kind or (np.dtype(np.uint8), ())
        return self._spool.array().view(element).reshape(-1, *shape)


def _different(where: str) -> InputError:
    return InputError(f"{where} has images of different sizes; make them all alike.")


def _parquet(content: BinaryIO, where: str) -> Iterator["pa.Table"]:
    """The rows in blocks."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(content, buffer_size=_BUFFER)
        # A few bytes can stand for many rows.
        for batch in file.iter_batches(_ROWS_AT_ONCE):
            spool.check_memory(batch.nbytes, where)
            table = pa.Table.from_batches([batch])
            table.validate(full=True)  # its texts may be no UTF-8
            yield table
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"{where} is not a parquet file, or damaged ({_first_line(error)}); copy or download "
            "it again."
        ) from None


def _csv(content: BinaryIO, where: str) -> Iterator["pa.Table"]:
    """The rows of a CSV file, with or without a line of names; of a large one in blocks."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        if where.lower().endswith(".gz"):
            stream = gzip.GzipFile(fileobj=content)
            content = spool.Spool(where).add_all(spool.pieces(stream)).file()
        line = content.read(spool.BLOCK).split(b"\n", 1)[0].decode("utf-8-sig").strip()
        size = content.seek(0, io.SEEK_END)
        content.seek(0)
        delimiter = max(",;\t", key=line.count)
        fields = [field.strip().strip('"') for field in line.split(delimiter)]
        is_named = not all(_is_number(field) for field in fields)
        is_small = size <= spool.IN_MEMORY
        # Of a large file, some thirty blocks are read ahead.
        block = spool.BLOCK if is_small else spool.BLOCK // 16
        options = csv.ReadOptions(autogenerate_column_names=not is_named, block_size=block)
        parsing = csv.ParseOptions(delimiter=delimiter)
        if is_small:  # the types of all rows are known then
            yield _without_numbers(csv.read_csv(content, options, parsing))
            return
        for batch in csv.open_csv(content, options, parsing):
            yield _without_numbers(pa.Table.from_batches([batch]))
    except (pa.ArrowException, OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(
            f"{where} cannot be read as CSV ({_first_line(error)}); fix that row or save it again."
        ) from None


def _without_numbers(table: "pa.Table") -> "pa.Table":
    """The table without the row numbers that pandas writes."""
    return table if table.column_names[0] else table.remove_column(0)


def _check_names(all_of: list[str], where: str) -> None:
    name, count = Counter(all_of).most_common(1)[0]
    if count > 1:
        raise InputError(f"{where} has {count} columns named {name}; give each a name of its own.")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _pixel_columns(table: "pa.Table", where: str) -> np.ndarray:
    """The columns side by side: [N, 784], or images where they are whole numbers."""
    import pyarrow as pa

    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count or not (
            pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
        ):
            raise InputError(
                f"Column {name} of {where} is not all numbers; each is the brightness of a pixel."
            )
    spool.check_memory(table.num_rows * PIXELS * 8, where)
    block = np.stack([column.to_numpy() for column in table.columns], axis=1)
    # Floats are scaled by the range of all of them.
    return block if block.dtype.kind == "f" else to_images(block, where, lambda line: None)


def _image_column(
    column: "pa.ChunkedArray", where: str, before: int, converted: dict[str, int]
) -> np.ndarray:
    """Images of a column of PNG files, bare or as the Hub has them, or of lists of pixels.

    ``before`` is the number of rows before these.
    """
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
        raise InputError(f"{where} has rows without an image; remove them.")
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return np.stack(
            [
                folders.decode(value.as_py(), f"row {row} of {where}", converted)
                for row, value in enumerate(column, before)
            ]
        )
    return _lists(column.combine_chunks(), where)


def _lists(array: "pa.Array", where: str) -> np.ndarray:
    """Lists of pixels, or of rows of pixels, as one array."""
    import pyarrow as pa

    shape = [len(array)]
    while (
        pa.types.is_list(array.type)
        or pa.types.is_large_list(array.type)
        or pa.types.is_fixed_size_list(array.type)
    ):
        lengths = array.value_lengths().unique().to_pylist()
        if len(lengths) != 1 or lengths[0] is None:
            raise _different(where)
        shape.append(lengths[0])
        array = array.flatten()
    return array.to_numpy(zero_copy_only=False).reshape(shape)


def _first_line(error: Exception) -> str:
    return posixpath.basename(str(error).strip().splitlines()[0])[:120] if str(error) else "cut"
