"""Fixtures of the tests of the pipeline."""

import pytest

from pipeline.config import RunConfig


@pytest.fixture
def config(tmp_path) -> RunConfig:
    return RunConfig(
        profile="smoke",
        output_dir=str(tmp_path / "out"),
        serving_dir=str(tmp_path / "serving"),
    )
