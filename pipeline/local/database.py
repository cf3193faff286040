"""The SQLite file of ML Metadata: looked at before it is used, and kept a second time.

Contract: ``check`` turns what is wrong with the file into one sentence before a run starts;
``keep_copy`` leaves a sound copy beside it after each run, from which ``repair`` brings it back.
"""

import contextlib
import os
import sqlite3
from pathlib import Path

from core.config import InputError

DATABASE = "metadata.sqlite"  # in the directory of a profile
_COPY = ".copy"  # is added to its name
_NEWEST = 10  # schema that ML Metadata 1.17 reads and writes
_BUSY_SECONDS = 5.0


def check(path: Path) -> None:
    """Does nothing if the file can be read and written, or is not there yet, or empty.

    Raises:
        InputError: It is damaged, locked by another program, of a newer release, or closed to this
            user; the sentence says what to do.
    """
    if words := damage(path):
        raise InputError(words)


def damage(path: Path) -> str:
    """What keeps the file from being used, as a sentence; empty if nothing does."""
    repair = (
        f"bring back the copy of the last run with: inkwell doctor --repair --output "
        f"{path.parent.parent}. Models in serving and artifacts stay."
    )
    if not path.exists():
        return ""
    if not path.is_file():
        return f"{path} is not a file; move it away, and a new one is made."
    if not path.stat().st_size:
        return ""
    if not os.access(path, os.R_OK | os.W_OK):
        return f"{path} cannot be written by this user; make it writable, or choose --output."
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_SECONDS)) as database:
            [[found], *_] = database.execute("PRAGMA quick_check(1)").fetchall()
            if found != "ok":
                return f"{path} is damaged ({found.splitlines()[-1]}); {repair}"
            database.execute("BEGIN IMMEDIATE")
            tables = database.execute("SELECT name FROM sqlite_master WHERE name = 'MLMDEnv'")
            if not tables.fetchall():
                return f"{path} is no database of ML Metadata; {repair}"
            versions = database.execute("SELECT schema_version FROM MLMDEnv").fetchall()
            database.rollback()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return f"{path} is used by another program; end that, or choose another --output."
        return f"{path} cannot be used ({error}); make room and rights for it, or {repair}"
    except sqlite3.DatabaseError as error:
        return f"{path} is damaged ({error}); {repair}"
    if versions and versions[0][0] > _NEWEST:
        return (
            f"{path} was written by a newer ML Metadata (schema {versions[0][0]}, this one knows "
            f"{_NEWEST}); use the newer installation, or choose another --output."
        )
    return ""


def keep_copy(path: Path) -> None:
    """Copies the database as it is now; a copy that cannot be written is left out."""
    if not path.is_file() or damage(path):
        return
    staged, kept = path.with_name(f".{path.name}{_COPY}"), _copy_of(path)
    with contextlib.suppress(OSError, sqlite3.Error):
        staged.unlink(missing_ok=True)
        with (
            contextlib.closing(sqlite3.connect(path)) as source,
            contextlib.closing(sqlite3.connect(staged)) as target,
        ):
            source.backup(target)
        os.replace(staged, kept)


def repair(path: Path) -> str:
    """Moves a damaged database away and puts the last sound copy in its place.

    Returns:
        What was done, as a sentence.

    Raises:
        OSError: A file cannot be moved.
    """
    number = 1
    while (away := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    path.rename(away)
    kept = _copy_of(path)
    if not kept.is_file() or damage(kept):
        return f"{path} is now {away.name}. There is no sound copy: the next run makes all again."
    kept.rename(path)
    return f"{path} is now {away.name}, and the copy of the last run is in its place."


def _copy_of(path: Path) -> Path:
    return path.with_name(path.name + _COPY)
