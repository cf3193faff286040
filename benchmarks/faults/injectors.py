"""What does the accidents between runs, and around one: each takes the place, a target and chance.

Contract: an injector is a context manager. It harms on entry, yields how the command is run that
meets the harm, and leaves what a user would have to put right as it was. ``INJECTORS`` has them all
by name.
"""

import contextlib
import fcntl
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.faults import moments
from benchmarks.faults.commands import How, system
from benchmarks.faults.place import Place
from pipeline.local.database import DATABASE

Injector = Callable[[Place, str, random.Random], contextlib.AbstractContextManager[How]]
_HARMS: dict[str, Callable[[Path, random.Random], object]] = {}


def _harm(function: Callable[[Path, random.Random], object]) -> Callable:
    _HARMS[function.__name__.strip("_")] = function
    return function


@_harm
def _flip(path: Path, rng: random.Random) -> None:
    """Changes one bit, not the size and not the time of the file."""
    stamp, content = path.stat(), bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


@_harm
def _cut(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))])


@_harm
def _empty(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


@_harm
def _delete(path: Path, rng: random.Random) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@_harm
def _add(path: Path, rng: random.Random) -> None:
    path.with_name("more").write_text("of another program\n")


@_harm
def _text(path: Path, rng: random.Random) -> None:
    path.write_text("These are notes.\n" * 300)


@_harm
def _link(path: Path, rng: random.Random) -> None:
    """A dead link instead of the file."""
    _delete(path, rng)
    path.symlink_to("/nowhere")


@_harm
def _folder(path: Path, rng: random.Random) -> None:
    _delete(path, rng)
    path.mkdir()


@_harm
def _pipe(path: Path, rng: random.Random) -> None:
    """A named pipe, in which a reader would wait for ever."""
    _delete(path, rng)
    os.mkfifo(path)


@_harm
def _header(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"SQLite format 2\0" + path.read_bytes()[16:])


@_harm
def _scramble(path: Path, rng: random.Random) -> None:
    """64 bytes in every second page of a database."""
    content = bytearray(path.read_bytes())
    for start in range(4096, len(content), 8192):
        content[start : start + 64] = rng.randbytes(64)
    path.write_bytes(content)


@_harm
def _strange(path: Path, rng: random.Random) -> None:
    """A database of another program."""
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE notes (text)")


def _harmer(harm: Callable[[Path, random.Random], object]) -> Injector:
    @contextlib.contextmanager
    def inject(place: Place, to: str, rng: random.Random) -> Iterator[How]:
        paths = sorted(place.now.glob(to))
        if not paths:
            raise FileNotFoundError(f"{to} matches nothing")
        harm(rng.choice(paths), rng)
        yield How()

    return inject


def _data_harmer(harm: Callable[[Path, random.Random], object]) -> Injector:
    """As ``_harmer``, but in the data, which are put back."""

    @contextlib.contextmanager
    def inject(place: Place, to: str, rng: random.Random) -> Iterator[How]:
        with _put_back(place.data):
            harm(rng.choice(sorted(place.data.glob(to))), rng)
            yield How()

    return inject


@contextlib.contextmanager
def _put_back(folder: Path) -> Iterator[None]:
    away = folder.with_name(f"{folder.name}.away")
    folder.rename(away)
    shutil.copytree(away, folder)
    try:
        yield
    finally:
        shutil.rmtree(folder)
        away.rename(folder)


@contextlib.contextmanager
def write_data(place: Place, to: str, rng: random.Random) -> Iterator[How]:
    """Writes a file of the data: ``name=words``, with escapes as in Python."""
    name, _, words = to.partition("=")
    with _put_back(place.data):
        (place.data / name).write_bytes(words.encode().decode("unicode_escape").encode("latin-1"))
        yield How()


@contextlib.contextmanager
def in_the_way(place: Place, to: str, rng: random.Random) -> Iterator[How]:
    """A file where a directory is expected, or a directory where a file is."""
    path = place.now / to
    away = path.with_name(f"{path.name}.away")
    was_file = not path.is_dir()
    path.rename(away)
    path.mkdir() if was_file else path.touch()
    yield How()
    path.rmdir() if was_file else path.unlink()
    away.rename(path)


@contextlib.contextmanager
def dead_link(place: Place, to: str, rng: random.Random) -> Iterator[How]:
    """A link to nowhere in the place of a file."""
    path = place.now / to
    _link(path, rng)
    yield How()
    path.unlink()


@contextlib.contextmanager
def flip_served(place: Place, to: str, rng: random.Random) -> Iterator[How]:
    """One bit of a version in serving, which is then deleted, as the sentence says."""
    path = rng.choice(sorted(place.now.glob(to)))
    _flip(path, rng)
    yield How()
    below = path.relative_to(place.serving)
    shutil.rmtree(place.serving / below.parts[0] / below.parts[1])


@contextlib.contextmanager
def read_only(place: Place, to: str, rng: random.Random) -> Iterator[How]:
    """Mounts a directory or a file for reading only, where the command sees it."""
    path = place.now / to
    system("mount", "--bind", path, path)
    system("mount", "-o", "remount,ro,bind", path)
    try:
        yield How()
    finally:
        system("umount", path)


@contextlib.contextmanager
def full_disk(place: Place, to: str, rng: random.Random) -> Iterator[How]:
    """Leaves a number of kilobytes: ``node kilobytes``; the node's artifacts are made again."""
    node_id, kilobytes = to.split()
    shutil.rmtree(place.profile / "pipeline" / node_id)
    used = shutil.disk_usage(place.now).used // 1024
    _resize(place, f"{used + int(kilobytes)}k")
    try:
        yield How()
    finally:
        _resize(place, "50%")


def _resize(place: Place, size: str) -> None:
    system("mount", "-o", f"remount,size={size}", place.now)


@contextlib.contextmanager
def moved(place: Place, to: str, rng: random.Random) -> Iterator[How]:
    """Another place for the outputs: moved, copied, or reached through a link."""
    how, _, name = to.partition(" ")
    there = place.now / name
    if how == "copied":
        shutil.copytree(place.output, there)
    else:
        place.output.rename(there)
    if how == "linked":
        place.output.symlink_to(there)
        there = place.output
    yield How(output=there)


@contextlib.contextmanager
def settings(place: Place, to: str, rng: random.Random) -> Iterator[How]:
    """Environment variables of a new process: ``NAME=value``, divided by blanks."""
    yield How(script='"$@"', environment=dict(word.split("=", 1) for word in to.split()))


@contextlib.contextmanager
def shell(place: Place, to: str, rng: random.Random) -> Iterator[How]:
    """A new process that a shell starts: "$@" is the command."""
    yield How(script=to)


@contextlib.contextmanager
def locked(place: Place, to: str, rng: random.Random) -> Iterator[How]:
    """Another program holds the lock of the outputs or of the metadata."""
    if to == "outputs":
        with open(place.output / ".lock", "r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield How()
        return
    with contextlib.closing(sqlite3.connect(place.profile / DATABASE)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        yield How()
        holder.rollback()


@contextlib.contextmanager
def newer(place: Place, to: str, rng: random.Random) -> Iterator[How]:
    """A schema of the metadata that this installation does not know."""
    with contextlib.closing(sqlite3.connect(place.profile / DATABASE)) as database:
        [[known]] = database.execute("SELECT schema_version FROM MLMDEnv").fetchall()
        database.execute("UPDATE MLMDEnv SET schema_version = 99")
        database.commit()
        yield How()
        database.execute("UPDATE MLMDEnv SET schema_version = ?", [known])
        database.commit()


def _within(inside: Callable[..., Callable[[], object]]) -> Injector:
    """Something that happens in the process of the command."""

    @contextlib.contextmanager
    def inject(place: Place, to: str, rng: random.Random) -> Iterator[How]:
        yield How(inside=inside(place, to, rng))

    return inject


INJECTORS: dict[str, Injector] = {
    **{name: _harmer(harm) for name, harm in _HARMS.items()},
    **{f"{name} data": _data_harmer(harm) for name, harm in _HARMS.items()},
    **{name: _within(inside) for name, inside in moments.INSIDE.items()},
    "write data": write_data,
    "in the way": in_the_way,
    "dead link": dead_link,
    "flip served": flip_served,
    "read only": read_only,
    "full disk": full_disk,
    "moved": moved,
    "settings": settings,
    "shell": shell,
    "locked": locked,
    "newer": newer,
}
