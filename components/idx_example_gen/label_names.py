"""Names of the classes from a file of the data directory: ``labels.txt``, or EMNIST's mapping.

Contract: ``read`` gives them in the order of the labels, or None where there is no such file.
"""

from collections.abc import Sequence

from components.idx_example_gen import storage
from components.idx_example_gen.arrays import LONGEST_NAME
from core.config import InputError
from core.foreign import is_plain, shown

LABEL_NAMES_FILE = "labels.txt"
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
