"""Progress of long work, reported through ``logging`` so that any runner can show it.

``report`` sends one record to the logger ``inkwell.progress``. The command line shows it in its
live table; on a cluster the same record is a log line, at most one in five seconds per stage.
"""

import dataclasses
import logging
import time

LOGGER = logging.getLogger("inkwell.progress")
_MIN_SECONDS_BETWEEN_LINES = 5.0
_last_line: dict[str, float] = {}


@dataclasses.dataclass(frozen=True)
class Progress:
    """State of one stage: ``step`` of ``total`` done, with the newest metrics."""

    stage: str
    step: int
    total: int
    values: dict[str, float]


def report(stage: str, step: int, total: int, **values: float) -> None:
    """Reports the progress of ``stage``; cheap enough for every training step.

    The record carries ``record.progress`` for a live display and ``record.line`` (bool): whether
    a plain log should print it too.
    """
    now = time.monotonic()
    line = step >= total or now - _last_line.get(stage, 0.0) >= _MIN_SECONDS_BETWEEN_LINES
    if line:
        _last_line[stage] = now
    figures = "  ".join(f"{name} {float(value):.4g}" for name, value in values.items())
    LOGGER.info(
        "%s %d/%d  %s",
        stage,
        step,
        total,
        figures,
        extra={"progress": Progress(stage, step, total, dict(values)), "line": line},
    )
