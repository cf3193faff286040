"""The page about the data of a run that its data gate ended; there is no report then.

Contract: the page of ``inkwell check``, from what the run has measured, in
``<output_dir>/<profile>/checks/<run id>.html``. A page that cannot be written is a warning: it is
no reason for the run to end otherwise.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from core.config import InputError
from core.files import write_whole
from pipeline.config import RunConfig
from pipeline.local.workspace import make_directory

if TYPE_CHECKING:
    from pipeline.local.metadata import RunMetadata

_GATE = "data-gate"

_LOG = logging.getLogger(__name__)


def write_check(
    config: RunConfig, metadata: "RunMetadata", run_id: str, profile_dir: Path
) -> str | None:
    """Writes the page and returns its path; None if the run did not come as far as the gate."""
    statistics = metadata.output(run_id, "statistics-gen", "statistics")
    examples = metadata.output(run_id, "example-gen", "examples")
    if statistics is None or examples is None or metadata.state(run_id, _GATE) != "FAILED":
        return None
    from components.data_gate.check import check_run
    from components.data_gate.page import page

    places = [str(metadata.directory(artifact)) for artifact in (statistics, examples)]
    path = profile_dir / "checks" / f"{run_id}.html"
    try:
        verdict = check_run(config.data_dir, config.data, *places)
        make_directory(path.parent)
        write_whole(path, page(verdict, config.data_dir))
    except (InputError, OSError) as error:
        _LOG.warning("The page about the data could not be written (%s).", error)
        return None
    return str(path)
