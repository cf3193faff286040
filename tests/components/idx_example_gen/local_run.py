"""Runs a few nodes as a pipeline of its own, as a user's run does."""

from collections.abc import Sequence
from pathlib import Path


def run_nodes(root: Path, nodes: Sequence, cache: bool = True) -> None:
    """Runs ``nodes`` with LocalDagRunner; artifacts and metadata lie under ``root``."""
    from tfx.orchestration import metadata, pipeline
    from tfx.orchestration.local import local_dag_runner

    local_dag_runner.LocalDagRunner().run(
        pipeline.Pipeline(
            pipeline_name="data",
            pipeline_root=str(root),
            components=list(nodes),
            enable_cache=cache,
            metadata_connection_config=metadata.sqlite_metadata_connection_config(
                str(root / "metadata.sqlite")
            ),
            # The image's name only keeps TFX from packing itself up for remote workers, 1.5 s a
            # node; no worker is remote.
            beam_pipeline_args=[
                "--runner=FnApiRunner",
                "--direct_num_workers=1",
                "--sdk_container_image=unused",
            ],
        )
    )


def newest(root: Path, node: str, output: str) -> Path:
    """The artifact that ``node`` wrote last."""
    return max((root / node / output).iterdir(), key=lambda path: int(path.name))
