"""The data directory: which files hold the images, and the images themselves.

Contract: ``find_data`` chooses the files, ``read_data`` reads them into splits of uint8 images
[N, 28, 28] and labels 0 to K-1, the same for every format; what was taken or converted is said in
lines. Any fault is an ``InputError`` of one sentence. All 70,000 images of MNIST take about 0.3 s,
so ``read_data`` is also the check before a pipeline starts.
"""

import contextlib
import dataclasses
import hashlib
import posixpath
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from components.idx_example_gen import (
    encode,
    folders,
    idx,
    label_names,
    npz,
    spans,
    spool,
    storage,
    tables,
)
from components.idx_example_gen.arrays import Raw, Say
from components.idx_example_gen.config import DataConfig, Format
from components.idx_example_gen.names import SPLITS
from core.config import InputError, require

# By format, in the order in which a directory with several is read.
_FIND = {
    "idx": idx.find,
    "npz": npz.find,
    "parquet": tables.find_parquet,
    "csv": tables.find_csv,
    "folders": folders.find,
}
_READ: dict[str, Callable[[storage.Files, Say], dict[str, Raw]]] = {
    "idx": idx.read,
    "npz": npz.read,
    "parquet": tables.read,
    "csv": tables.read,
    "folders": folders.read,
}
_TITLES = {
    "idx": "IDX files",
    "npz": "NumPy's files",
    "parquet": "parquet files",
    "csv": "CSV files",
    "folders": "folders of images",
}
_PATHS_SHOWN = 4
# Where there is no test split: a seventh of the images, as in MNIST.
_KEPT, _HELD_OUT = 6, 1
# Files that are known by their endings, and how to turn them into one of the formats.
_FOREIGN = {
    (".pt", ".pth"): "x, y = torch.load(PATH)[:2]; numpy.savez_compressed('mnist.npz', "
    "x_train=x, y_train=y), and x_test, y_test of the test file",
    (".pkl", ".pickle"): "read it where you trust it, and numpy.savez_compressed('data.npz', "
    "x_train=..., y_train=..., x_test=..., y_test=...)",
    (".mat",): "d = scipy.io.loadmat(PATH); numpy.savez_compressed('data.npz', x_train=..., "
    "y_train=..., x_test=..., y_test=...)",
    (".arrow",): "datasets.load_from_disk(DIR)['train'].to_parquet('train.parquet')",
    (".h5", ".hdf5"): "read it with h5py, and numpy.savez_compressed('data.npz', x_train=..., "
    "y_train=..., x_test=..., y_test=...)",
    (".zip", ".tar", ".tgz", ".7z", ".rar"): "unpack it there",
}


@dataclasses.dataclass(frozen=True)
class Pair:
    """Images [N, 28, 28] uint8 and labels [N] uint8 of a split."""

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray | None = None  # [N] places in the files; None where all are taken


@dataclasses.dataclass(frozen=True)
class Data:
    """All that a run takes of a data directory."""

    splits: Mapping[str, Pair]  # train and test
    names: tuple[str, ...] | None  # of the classes, in the order of the labels
    files: Mapping[str, str]  # SHA-256 of the bytes that were read, by path
    said: tuple[str, ...]  # lines: what was taken, and what was converted
    spans: tuple[str, ...] = ()  # names of those that were read, where the data have spans


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of a data directory that hold its images."""

    format: str
    files: storage.Files
    said: str  # one line


def find_data(data_dir: str, format: str = "auto", splits: Sequence[str] = SPLITS) -> Source:
    """Chooses the files of a data directory.

    Args:
        data_dir: A directory, here or in a bucket.
        format: One of ``DataConfig.format``; "auto" takes the first that is there.
        splits: Those that are needed.

    Raises:
        InputError: The directory is missing, or holds nothing that can be read; the sentence names
            what lies there.
    """
    found, mistake, paths = _find_all(data_dir, splits)
    if format != "auto":
        if format not in found:
            raise mistake if mistake and format == "idx" else _nothing(data_dir, paths, format)
        chosen = format
    elif found:
        chosen = next(iter(found))
    else:
        raise mistake or _nothing(data_dir, paths)
    files = found[chosen]
    first = ", ".join(files[:_PATHS_SHOWN])
    more = f" and {len(files) - _PATHS_SHOWN:,} more" if len(files) > _PATHS_SHOWN else ""
    others = [_TITLES[name] for name in found if name != chosen]
    also = f"; {' and '.join(others)} there are not read (--format chooses)" if others else ""
    said = f"{_TITLES[chosen]} in {data_dir}: {first}{more}{also}."
    return Source(chosen, storage.Files(data_dir, tuple(files)), said)


def read_data(data_dir: str, config: DataConfig | None = None) -> Data:
    """Reads train and test, all images of them unless ``config`` cuts them.

    Raises:
        InputError: Besides what ``find_data`` raises: a file is damaged or holds something else,
            counts differ, there is only one class, or labels have no name.
    """
    config = config or DataConfig()
    chosen, said = _chosen(data_dir, config)
    parts, paths, files = [], [], {}
    for folder in chosen or [data_dir]:
        source = find_data(folder, config.format)
        said.append(source.said)
        parts.append(_read_source(source, said.append))
        paths += source.files.paths
        files |= source.files.digests
    raws = {
        split: spans.join([part[split] for part in parts if split in part])
        for split in SPLITS
        if any(split in part for part in parts)
    }
    classes, names = label_names.number_classes(data_dir, raws, said.append)
    pairs = {split: Pair(raw.images, classes[split]) for split, raw in raws.items()}
    if config.transpose:
        said.append("Every image is transposed (data.transpose).")
        pairs = {s: Pair(_transposed(pair.images), pair.labels) for s, pair in pairs.items()}
    elif any("emnist" in path.lower() for path in paths):
        said.append(
            "EMNIST's files hold images on their side; --set data.transpose=true turns them."
        )
    if "test" not in pairs:
        said.append("There is no test split; a seventh of the images is held out as one.")
        pairs = _hold_out(pairs["train"])
    if config.max_images is not None:
        pairs = cut(pairs, config.max_images)
        said += [_cut_line(split, pair) for split, pair in pairs.items() if pair.rows is not None]
    read = tuple(posixpath.basename(folder) for folder in chosen)
    return Data(pairs, names, files, tuple(said), read)


def _chosen(data_dir: str, config: DataConfig) -> tuple[list[str], list[str]]:
    """Directories of the spans that shall be read, none where there are none, and a line on it."""
    names = spans.find(data_dir)
    if not names:
        return [], []
    there = storage.list_files(data_dir, depth=0)
    found, mistake = _by_format(there, SPLITS, data_dir)
    if found or mistake:
        others = next(iter(found.values()), there)[:_PATHS_SHOWN]
        raise InputError(
            f"{data_dir} holds spans and, besides them, {', '.join(others)}; move these into a "
            "span."
        )
    named = [name for name in names if label_names.file_of(storage.join(data_dir, name))]
    if named and label_names.file_of(data_dir) is None:
        raise InputError(
            f"The names of the classes lie in {named[0]}; move that file to {data_dir}, as they "
            "hold for every span."
        )
    kept = names[-config.spans :] if config.spans else names
    line = f"Of {len(names)} spans in {data_dir}: {', '.join(kept)}."
    return [storage.join(data_dir, name) for name in kept], [line]


def _read_source(source: Source, say: Say) -> dict[str, Raw]:
    """The splits of one directory, checked as far as each can be by itself."""
    data_dir = source.files.data_dir
    raws = _READ[source.format](source.files, say)
    raws = {split: raws[split] for split in SPLITS if split in raws}
    require("train" in raws, f"{data_dir} holds no train images; name them so.")
    if raws.get("test") is not None and raws["test"].labels is None:
        say(f"{raws.pop('test').where} has no labels and is left out.")
    for raw in raws.values():
        _check_counts(raw)
    return raws


def read_images(data_dir: str, split: str, format: Format = "auto") -> np.ndarray:
    """The images [N, 28, 28] of one split, with no need of the other; raises as ``read_data``."""
    if spans.find(data_dir):
        return read_data(data_dir, DataConfig(format=format)).splits[split].images
    source = find_data(data_dir, format, (split,))
    raws = _READ[source.format](source.files, lambda line: None)
    require(split in raws, f"{data_dir} holds no {split} images; name them so.")
    return raws[split].images


def cut(pairs: Mapping[str, Pair], count: int) -> dict[str, Pair]:
    """At most ``count`` images of each split: the first, or of each class its share."""
    return {split: _cut(split, pair, count) for split, pair in pairs.items()}


def class_names(data_dir: str) -> tuple[str, ...] | None:
    """Names of the classes: of labels.txt, or those by which files and folders call them.

    None where they have none, or where the data cannot be read, which its readers report.
    """
    names = label_names.read(data_dir)
    if names is None:
        with contextlib.suppress(InputError):
            found = _folders(data_dir)
            if found != [data_dir] or find_data(data_dir).format not in ("idx", "npz"):
                return read_data(data_dir).names
    return names


def digest(data_dir: str, *more_files: str, read: Mapping[str, str] = MappingProxyType({})) -> str:
    """SHA-256 over the files of images, the label names and ``more_files`` of a data directory.

    The files of every format count, and those of every span, as it is not known here which a run
    will be told to read.
    Files in ``read``, which is as ``Data.files``, count as they were read and not as they are.

    Raises:
        InputError: As ``find_data``, or a file cannot be read.
    """
    total = hashlib.sha256()
    for folder in _folders(data_dir):
        span = "" if folder == data_dir else f"{posixpath.basename(folder)}/"
        for name, path in _named_files(folder):
            one = read.get(path) or storage.file_digest(path)
            total.update(f"{span}{name} {one}\n".encode())
    optional = (label_names.file_of(data_dir) or label_names.LABEL_NAMES_FILE, *more_files)
    for name in optional:
        path = storage.join(data_dir, name)
        if storage.exists(path):
            total.update(f"{name} {read.get(path) or storage.file_digest(path)}\n".encode())
    return total.hexdigest()


def _folders(data_dir: str) -> list[str]:
    """The directories that hold the images: the spans, or the data directory itself."""
    return [storage.join(data_dir, name) for name in spans.find(data_dir)] or [data_dir]


def _named_files(folder: str) -> list[tuple[str, str]]:
    """The files of images and labels of one directory: the name that counts, and the path."""
    found, mistake, there = _find_all(folder, SPLITS)
    if not found:
        raise mistake or _nothing(folder, there)
    # MNIST's four files count by their bare names, so that moving them into a folder is no change.
    names = [(posixpath.basename(path), path) for path in found.pop("idx", [])]
    names += [(path, path) for files in found.values() for path in files]
    return [(name, storage.join(folder, path)) for name, path in names]


def check_unchanged(planned: str, found: str, data_dir: str) -> None:
    """Raises ``InputError`` if the digest of what was read is not the one in the node's settings.

    The cache would give the result to every later run with the planned content. An empty plan, of
    data that could not be read then, agrees with everything.
    """
    if planned and planned != found:
        raise InputError(
            f"The files in {data_dir} changed after the run began; run it again when nothing "
            "writes there."
        )


def _find_all(
    data_dir: str, splits: Sequence[str]
) -> tuple[dict[str, list[str]], InputError | None, list[str]]:
    """Files by format, what is wrong with the IDX files, and all paths there are."""
    if not storage.is_dir(data_dir):
        if storage.exists(data_dir):
            raise InputError(f"{data_dir} is a file; name the directory it lies in with --data.")
        raise InputError(
            f"The data directory {data_dir} does not exist; name one that holds images with --data."
        )
    paths = storage.list_files(data_dir)
    return *_by_format(paths, splits, data_dir), paths


def _by_format(
    paths: Sequence[str], splits: Sequence[str], data_dir: str
) -> tuple[dict[str, list[str]], InputError | None]:
    """Files by format, and what is wrong with the IDX files."""
    found, mistake = {}, None
    for format, find in _FIND.items():
        try:
            if files := find(paths, splits, data_dir):
                found[format] = files
        except InputError as error:
            mistake = error
    return found, mistake


def _nothing(data_dir: str, paths: Sequence[str], format: str = "") -> InputError:
    """The sentence about a directory without images in it."""
    if not paths:
        return InputError(
            f"{data_dir} is empty; put images there or name another directory with --data."
        )
    first = ", ".join(paths[:_PATHS_SHOWN])
    more = f" and {len(paths) - _PATHS_SHOWN:,} more" if len(paths) > _PATHS_SHOWN else ""
    wanted = _TITLES[format] if format else "images that can be read"
    for endings, remedy in _FOREIGN.items():
        path = next((p for p in paths if p.lower().endswith(endings)), None)
        if path is not None and not format:
            return InputError(f"{data_dir} holds {path}, which is not read; {remedy}.")
    return InputError(
        f"{data_dir} holds no {wanted}, but {first}{more}; put there IDX files named as MNIST's, "
        "an .npz with x_train and y_train, parquet or CSV files, or images in train/CLASS/."
    )


def _check_counts(raw: Raw) -> None:
    if raw.labels is None:
        raise InputError(f"{raw.where} has no labels; a run needs them.")
    if len(raw.images) != len(raw.labels):
        raise InputError(
            f"{raw.where} holds {len(raw.images)} images but {raw.labels_where} holds "
            f"{len(raw.labels)} labels; the two must agree, so replace the one that is wrong."
        )


def _hold_out(pair: Pair) -> dict[str, Pair]:
    """Train and test of images that are not split, by a hash of the pixels."""
    is_test = encode.choose_eval(pair.images, _KEPT, _HELD_OUT)
    require(bool(is_test.any()), "No image can be held out for the test: are all the same?")
    rows = {"train": np.flatnonzero(~is_test), "test": np.flatnonzero(is_test)}
    return {
        split: Pair(spool.taken(pair.images, some, split), pair.labels[some])
        for split, some in rows.items()
    }


def _transposed(images: np.ndarray) -> np.ndarray:
    changed = spool.converted(images, "images", lambda block: block.transpose(0, 2, 1))
    return changed.reshape(images.shape)


def _cut(split: str, pair: Pair, count: int) -> Pair:
    rows = encode.choose_part(pair.images, pair.labels, count, has_eval=split == "train")
    if rows is None:
        return Pair(pair.images[:count], pair.labels[:count])
    return Pair(spool.taken(pair.images, rows, split), pair.labels[rows], rows)


def _cut_line(split: str, pair: Pair) -> str:
    return (
        f"Of {split}, {len(pair.labels):,} images are taken, of each class its share: the first "
        "ones are not like the whole."
    )
