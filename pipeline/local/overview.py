"""All runs of a directory, each with the settings that it does not share with the one before.

Contract: reads the records alone, so it takes a moment, also while a run writes. ``inkwell runs``
shows it as a table, as JSON and as a page.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.comparison import differing
from pipeline.local.history import computing, settings_of
from pipeline.results import RunResult, load_results


@dataclasses.dataclass(frozen=True)
class Listed:
    """A run, and its settings that differ from those of the run before of the same profile.

    ``changed`` holds the value before and now by dotted key; None for the first of a profile, and
    where one of the two has no record of them.
    """

    result: RunResult
    changed: Mapping[str, tuple[Any, Any]] | None


def list_runs(output_dir: Path) -> list[Listed]:
    """The runs in ``output_dir``, of every profile, oldest first."""
    before: dict[str, Mapping[str, Any]] = {}  # settings by profile
    found = []
    for result in load_results(output_dir):
        record = output_dir / result.profile / "runs" / f"{result.run_id}.json"
        settings, last = settings_of(record), before.get(result.profile)
        changed = differing(computing(last), computing(settings)) if settings and last else None
        found.append(Listed(result, changed))
        before[result.profile] = settings
    return found
