"""The room that a run needs, asked before its first node."""

import shutil
from pathlib import Path

import pytest

from core.config import InputError
from pipeline.local import space
from pipeline.local.space import check_space, estimate
from tests.conftest import ROOT


@pytest.fixture
def disk(monkeypatch):
    """Says how much is free, in bytes."""

    def has(free: float) -> None:
        usage = shutil._ntuple_diskusage(10**12, 0, int(free))
        monkeypatch.setattr(space.shutil, "disk_usage", lambda place: usage)

    return has


def test_the_estimate_covers_what_was_measured_and_not_much_more():
    for images, measured in ((2000, 158e6), (70_000, 234e6)):
        assert measured < estimate(images) < 2 * measured


def test_clearly_too_little_is_refused_before_any_work(disk, tmp_path):
    disk(100e6)
    with pytest.raises(InputError, match=r"needs up to 425 MB of disk; .+ has 100 MB free"):
        check_space(tmp_path / "not" / "there", 70_000)


def test_a_run_that_goes_on_or_has_nearly_enough_is_not_refused(disk, tmp_path):
    disk(300e6)
    assert "has 300 MB free" in check_space(tmp_path, 70_000)
    disk(1e6)
    (tmp_path / "smoke" / "pipeline" / "gan").mkdir(parents=True)
    assert "has 1 MB free" in check_space(tmp_path, 70_000)


def test_the_command_says_it(disk, tmp_path):
    from typer.testing import CliRunner

    from pipeline.cli.main import app

    disk(1e6)
    words = ["run", "--data", str(ROOT / "data" / "mnist"), "--output", str(tmp_path / "out")]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 2 and "has 1 MB free" in told.output
    assert not Path(tmp_path, "out").exists()
