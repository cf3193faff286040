"""Version directories as TensorFlow Serving reads them, and the files that Inkwell adds to one.

Contract: a version is ``<base>/<whole number>/``; other names (``.staging-...``, ``1.partial``) are
skipped, so a version appears by one rename. ``lineage.json`` of a version has the digests of the
SavedModel's files, by which ``damage`` knows a whole version. Imports nothing heavy.
"""

import dataclasses
import errno
import json
import os
from pathlib import Path
from typing import Any

from core.files import difference, digests

EXTRA_DIR = "assets.extra"  # of a version; model servers read nothing from it but the next file
WARMUP_FILE = "tf_serving_warmup_requests"  # requests that a server runs before it serves
LINEAGE_FILE = "lineage.json"  # origin of the version
FILES_KEY = "files"  # of lineage.json: digests of the SavedModel's files, by path
CLUSTERS_FILE = "clusters.json"  # K-Means centres of an autoencoder
DATA_RECORD_FILE = "data_record.json"  # how an autoencoder sees the data that it was made with
CARD_MARKDOWN, CARD_HTML = "model_card.md", "model_card.html"


@dataclasses.dataclass(frozen=True, order=True)
class Version:
    """One version of a model: its number and its directory."""

    number: int
    path: Path


def extra_file(version: Path, name: str) -> Path:
    """Path of one of the files named above in the directory of a version."""
    return version / EXTRA_DIR / name


def read_lineage(version: Path) -> dict[str, Any]:
    """lineage.json of a version; empty where it has none, or one that cannot be read."""
    try:
        found = json.loads(extra_file(version, LINEAGE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def judged_by_quality(version: Path) -> bool:
    """Whether the gates that approved a version judged its quality, as far as is known."""
    return read_lineage(version).get("quality_gates") is not False


def model_files(version: str | os.PathLike[str]) -> dict[str, str]:
    """Digests of the SavedModel's files, without what a push adds.

    Raises:
        OSError: A file cannot be read.
    """
    found = digests(version)
    return {name: digest for name, digest in found.items() if Path(name).parts[0] != EXTRA_DIR}


def damage(version: Path) -> str:
    """What is wrong with the files of a version, in words; empty if it is whole.

    A version of before has no digests; it is whole if it has a ``saved_model.pb``.
    """
    if not version.is_dir():
        return "the directory is gone"
    lineage = extra_file(version, LINEAGE_FILE)
    try:
        expected = json.loads(lineage.read_bytes())[FILES_KEY] if lineage.is_file() else None
    except KeyError:
        expected = None
    except (ValueError, TypeError):
        return f"{EXTRA_DIR}/{LINEAGE_FILE} is not as the push wrote it"
    if expected is None:
        return "" if (version / "saved_model.pb").is_file() else "saved_model.pb is missing"
    try:
        found = model_files(version)
    except OSError as error:
        return f"{error.filename} cannot be read ({error.strerror})"
    # A file that was added changes nothing that is served.
    return difference(expected, {name: found[name] for name in expected if name in found})


def changed(version: Path) -> str:
    """``damage`` of a version that says which files it has; empty for any other directory."""
    return damage(version) if extra_file(version, LINEAGE_FILE).is_file() else ""


def list_versions(base_path: str | os.PathLike[str]) -> list[Version]:
    """Versions under ``base_path``, oldest first; empty where the directory does not exist.

    ``7`` and ``007`` are the same number, and both are listed.
    """
    try:
        return versions_in(base_path)
    except FileNotFoundError:
        return []


def versions_in(base_path: str | os.PathLike[str]) -> list[Version]:
    """Versions under ``base_path``, oldest first.

    A link that leads nowhere is no version, as it does not hide the others.

    Raises:
        OSError: The directory does not exist, or it or one of its versions cannot be read now.
    """
    with os.scandir(base_path) as entries:
        found = [e for e in entries if _is_version(e.name) and _is_directory(e)]
    return sorted(Version(int(entry.name), Path(entry.path)) for entry in found)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()  # false for a link to what does not exist
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise


def newest_version(base_path: str | os.PathLike[str]) -> Version | None:
    """The version that a server with the default policy would serve."""
    versions = list_versions(base_path)
    return versions[-1] if versions else None


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdecimal() and int(name) < 2**63
