"""The directory of the runs' files: ``<output_dir>/<profile>``, one run at a time.

Contract: a lock prevents a second run; run ids are times in UTC that only grow. What lies in the
directory names nothing by an absolute path, so it can be moved.
"""

import contextlib
import dataclasses
import datetime
import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from core.config import InputError, require
from core.files import PRIVATE_DIRECTORY_MODE, open_own, stranger
from pipeline.config import RunConfig
from pipeline.results import order_of

SERVING_OPTION = "--set serving_dir=DIR"  # names the directory of the pushed versions
ARTIFACTS = "pipeline"  # their directory below that of the profile
RUN_ID = "INKWELL_RUN_ID"  # in the environment: the id of a detached run, taken when it was started


def absolute(config: RunConfig) -> RunConfig:
    """Paths must hold where the nodes run, which is another directory."""
    paths = {name: getattr(config, name) for name in ("data_dir", "output_dir", "serving_dir")}
    local = {
        name: os.path.abspath(os.path.expanduser(path))
        for name, path in paths.items()
        if "://" not in path
    }
    return dataclasses.replace(config, **local)


def spelled_out(path: str | Path) -> str:
    """The path, and its absolute form if it is relative: ``outputs (/home/ada/outputs)``."""
    return str(path) if os.path.isabs(path) else f"{path} ({os.path.abspath(path)})"


def check_exists(path: str | Path, default: str | Path, remedy: str) -> None:
    """Raises ``InputError`` if the user named a directory that does not exist.

    Args:
        path: The directory.
        default: Directory if the user names none; this one may be missing.
        remedy: What to name instead, and with which option.
    """
    require(
        path == default or os.path.isdir(path),
        f"The directory {spelled_out(path)} does not exist; name {remedy}.",
    )


def make_directory(
    path: Path, option: str = "--output", mode: int = PRIVATE_DIRECTORY_MODE
) -> None:
    """Makes ``path`` if need be; raises ``InputError`` if it cannot be written or is not ours.

    Args:
        path: The directory.
        option: Option that names another directory.
        mode: Permissions of a directory that is made; what runs keep holds the user's data.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode)
        writable = path.is_dir() and os.access(path, os.W_OK)
    except OSError:
        writable = False
    require(writable, f"{path} cannot be written; name another directory with {option}.")
    check_ours(path, option)


def check_places(config: RunConfig) -> None:
    """Raises ``InputError`` if a directory of the run could not be made or written, which is tried.

    Nothing is left behind: whatever is wrong is said before anything is made.

    Args:
        config: Its paths are absolute.
    """
    places = {"--output": config.output_dir, SERVING_OPTION: config.serving_dir}
    for option, place in places.items():
        if "://" not in place:
            _check_writable(Path(place), Path(place), f"name another directory with {option}.")


def check_file(path: Path, option: str) -> None:
    """Raises ``InputError`` if a file, or the directories above it, could not be written."""
    remedy = f"name another file with {option}."
    require(not path.is_dir(), f"{path} is a directory; {remedy}")
    _check_writable(path, path.parent, remedy)


def _check_writable(path: Path, folder: Path, remedy: str) -> None:
    """Raises ``InputError`` about ``path`` unless ``folder`` can be written, or made."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    require(there.is_dir(), f"{there} is a file; {remedy}")
    try:
        tempfile.TemporaryDirectory(dir=there).cleanup()
    except OSError:
        raise InputError(f"{path} cannot be written; {remedy}") from None


def check_ours(path: Path, option: str) -> None:
    """Raises ``InputError`` for a directory in which others could put files and links.

    What lies there is loaded, and models are programs. In a pod of a cluster this is not asked, as
    the owner of a volume is whoever made it.

    Args:
        path: A directory; one that does not exist is nobody's.
        option: Option that names another directory.
    """
    try:
        why = stranger(path)
    except FileNotFoundError:
        return
    require(not why, f"{path} {why}, or name another directory with {option}.")


def new_run_id(profile_dir: Path) -> str:
    """The time in UTC, to the second; after all earlier ones, even if the clock was set back."""
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S")
    earlier = [order_of(path.stem) for path in profile_dir.parent.glob("*/logs/*.log")]
    newest, count = max(earlier, default=("", 0))
    return stamp if (stamp, 0) > (newest, count) else f"{newest}-{count + 1}"


@contextlib.contextmanager
def temporary_folder() -> Iterator[None]:
    """A folder for the temporary files of this process and its children.

    AutoGraph and others leave files there, as the process ends without their clean-up. Its path is
    short, as sockets need it.

    Raises:
        InputError: No temporary directory can be written.
    """
    before = os.environ.get("TMPDIR"), tempfile.tempdir
    try:
        made = tempfile.TemporaryDirectory(prefix="inkwell-", ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError(
            f"No temporary directory can be written ({error.strerror}); name one in TMPDIR."
        ) from error
    with made as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        try:
            yield
        finally:
            os.environ.pop("TMPDIR", None)
            if before[0] is not None:
                os.environ["TMPDIR"] = before[0]
            tempfile.tempdir = before[1]


@contextlib.contextmanager
def lock(output_dir: Path) -> Iterator[None]:
    """Locks the output directory; the system releases it however this process ends.

    A file system that cannot lock, such as NFS without its lock service, is a warning.

    Raises:
        InputError: Another run holds the lock, or its file is not ours.
    """
    path = output_dir / ".lock"
    try:
        descriptor = open_own(path, os.O_RDWR)
    except OSError as error:
        raise InputError(
            f"{path} cannot be used ({error.strerror}); remove it, or name another directory with "
            "--output."
        ) from None
    with open(descriptor, "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"Another run (process {file.read().strip() or 'unknown'}) is using {output_dir}; "
                "wait for it to end, or give this run a directory of its own with --output."
            ) from None
        except OSError as error:
            logging.getLogger(__name__).warning(
                "%s cannot be locked (%s); start no second run there.", path, error.strerror
            )
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
