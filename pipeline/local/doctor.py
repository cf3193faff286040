"""Looks at everything that runs have left on this machine, and mends what can be mended.

Contract: reads the directory of the runs and that of the models in serving. With ``repair`` it
moves what is damaged aside, under a name that says so, and deletes nothing.
"""

from collections.abc import Iterator
from pathlib import Path

from core.config import InputError
from core.models import MODELS
from pipeline.local import database
from pipeline.local.integrity import Ledger
from pipeline.local.workspace import lock
from pipeline.results import read_record
from serving.versions import damage, list_versions


def examine(output_dir: Path, serving_dir: Path, repair: bool) -> Iterator[tuple[bool, str]]:
    """Yields whether a thing is sound, or was mended, and a sentence on it.

    Args:
        output_dir: Directory of the runs; none of them may be going on.
        serving_dir: Directory of the models in serving.
        repair: Whether to mend.

    Raises:
        InputError: A run is going on, or the directory cannot be written.
    """
    with lock(output_dir):
        for profile_dir in sorted(path for path in output_dir.iterdir() if path.is_dir()):
            if (profile_dir / "runs").is_dir() or (profile_dir / database.DATABASE).exists():
                yield from _profile(profile_dir, repair)
    for name in MODELS:
        for version in list_versions(serving_dir / name):
            words = damage(version.path)
            told = f"is damaged: {words}; delete it, and the next run pushes the model again."
            yield not words, f"{version.path} {told if words else 'is whole.'}"


def _profile(profile_dir: Path, repair: bool) -> Iterator[tuple[bool, str]]:
    path = profile_dir / database.DATABASE
    if words := database.damage(path):
        yield (True, database.repair(path)) if repair else (False, words)
    elif path.is_file():
        yield True, f"{path} is sound."
    records = sorted((profile_dir / "runs").glob("*.json"))
    torn = []
    for record in records:
        try:
            read_record(record)
        except InputError:
            torn.append(record)
    yield True, f"{profile_dir / 'runs'} holds {len(records) - len(torn)} records."
    for record in torn:
        if repair:
            record.rename(record.with_suffix(".damaged"))
            yield True, f"{record} could not be read; it is now {record.stem}.damaged."
        else:
            yield False, f"{record} cannot be read; move it away with --repair."
    damaged = Ledger(profile_dir).damaged()
    for uri, words in damaged.items():
        yield True, f"{profile_dir / uri} is damaged ({words}); the next run makes it again."
    if not damaged:
        yield True, f"{profile_dir / 'pipeline'} holds what was written."
