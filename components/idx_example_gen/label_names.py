"""Classes: their names in ``labels.txt`` or EMNIST's mapping, and their numbers from 0.

Contract: ``read`` gives the names in the order of the labels, or None where there is no such file.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from components.idx_example_gen import storage
from components.idx_example_gen.arrays import LONGEST_NAME, Raw, Say
from core.config import InputError
from core.foreign import is_plain, shown

LABEL_NAMES_FILE = "labels.txt"
MOST_CLASSES = 256
_MAPPING = "-mapping.txt"  # the end of the name of EMNIST's


def read(data_dir: str) -> tuple[str, ...] | None:
    """Reads the optional ``labels.txt``: one class name per line, in the order of the labels.

    Without it, EMNIST's mapping is read: label and the codes of its characters per line.

    Raises:
        InputError: The file is empty, holds a blank line, a control character or a name that is too
            long, or is not UTF-8 text.
    """
    name = file_of(data_dir)
    if name is None:
        return None
    path = storage.join(data_dir, name)
    try:
        text = storage.read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; save it as UTF-8.") from None
    names = tuple(line.strip() for line in text.splitlines())
    if name != LABEL_NAMES_FILE:
        names = _mapped(names, path)
    if len(names) < 2 or not all(names):
        raise InputError(f"{path} must hold one class name per line, at least two, none blank.")
    for number, name in enumerate(names, 1):
        check_name(name, f"{path}, line {number}")
    return names


def number_classes(
    data_dir: str, raws: Mapping[str, Raw], say: Say
) -> tuple[dict[str, np.ndarray], tuple[str, ...] | None]:
    """Labels from 0 as uint8 by split, and the names of the classes if they have any.

    Raises:
        InputError: There is only one class, there are too many, or a label has no name.
    """
    given = read(data_dir)
    labels = {split: np.asarray(raw.labels) for split, raw in raws.items()}
    names = given
    if any(one.dtype.kind == "U" for one in labels.values()):
        texts = np.unique(np.concatenate([one.astype(np.str_) for one in labels.values()]))
        for text in texts.tolist():
            check_name(text, data_dir)
        names = given if given and set(given) == set(texts) else tuple(map(str, texts))
        place = {name: i for i, name in enumerate(names)}
        labels = {
            split: np.array([place[name] for name in one.astype(np.str_).tolist()])
            for split, one in labels.items()
        }
        say(f"Classes by name, in this order: {', '.join(names[:10])}.")
    elif given:
        say(f"Classes by name, of {file_of(data_dir)}: {', '.join(given[:10])}.")
    lowest = [int(one.min()) for one in labels.values()]
    highest = max(int(one.max()) for one in labels.values())
    # Of EMNIST's letters or of MATLAB; where labels.txt names class 0, it is only missing.
    if set(lowest) == {1} and not (given and len(given) > highest):
        labels = {split: one - 1 for split, one in labels.items()}
        say(f"The labels run from 1 to {highest}; 1 is subtracted from each.")
        highest -= 1
    where = raws["train"].labels_where or raws["train"].where
    if min(lowest) < 0 or highest >= MOST_CLASSES:
        wrong = min(lowest) if min(lowest) < 0 else highest
        raise InputError(
            f"{where} holds label {wrong}; labels run from 0 to {MOST_CLASSES - 1} at most."
        )
    if len(np.unique(labels["train"])) < 2:
        raise InputError(
            f"Every label in {where} is {labels['train'][0]}; at least two classes are needed: "
            "write the true labels of the images."
        )
    if names is not None and highest >= len(names):
        raise InputError(
            f"{where} holds label {highest} but {file_of(data_dir)} in {data_dir} "
            f"names only {len(names)} classes; give one name per line, in the order of the labels."
        )
    return {split: one.astype(np.uint8) for split, one in labels.items()}, names


def file_of(data_dir: str) -> str | None:
    """The file in ``data_dir`` that names the classes; None if there is none, or are several."""
    if storage.exists(storage.join(data_dir, LABEL_NAMES_FILE)):
        return LABEL_NAMES_FILE
    if not storage.is_dir(data_dir):
        return None
    found = [n for n in storage.list_files(data_dir, depth=0) if n.endswith(_MAPPING)]
    return found[0] if len(found) == 1 else None


def _mapped(lines: Sequence[str], path: str) -> tuple[str, ...]:
    """Names of the classes of EMNIST's mapping, such as ``36 97`` for class 36, which is a."""
    try:
        rows = sorted([int(word) for word in line.split()] for line in lines if line)
        names = tuple("".join(map(chr, codes)) for _, *codes in rows)
    except (ValueError, OverflowError):
        rows, names = [], ()
    labels = [row[0] for row in rows]
    if not labels or labels != list(range(labels[0], labels[0] + len(labels))):
        raise InputError(
            f"{path} is no mapping of EMNIST, a label and the codes of its characters per line; "
            f"remove it, or write {LABEL_NAMES_FILE}."
        )
    return names


def check_name(name: str, where: str) -> None:
    """Names of classes reach tables, pages and cards."""
    if len(name) > LONGEST_NAME:
        raise InputError(
            f"{where}: {shown(name[:LONGEST_NAME])}... has {len(name)} characters; the name of a "
            f"class may have {LONGEST_NAME}."
        )
    if not is_plain(name):
        raise InputError(
            f"{where}: {shown(name)} holds a character that is not seen; write the name without it."
        )
