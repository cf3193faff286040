"""``inkwell check`` and ``inkwell baseline``: exit codes, rows, the page, and a way on."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from components.data_gate import baseline as baselines
from components.data_gate import check, gate, page
from components.idx_example_gen import data, idx, scalars
from components.idx_example_gen.config import DataConfig
from pipeline.cli.main import app
from tests.browser import needs_chromium, open_browser, violations
from tests.components.data_gate import corruption


@pytest.fixture
def own_dir(small_mnist_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_mnist_dir, tmp_path / "own"))


def blank_some(images, labels):
    images = images.copy()
    images[[3, 8]] = 0
    return images, labels


def test_clean_data_is_0_and_faults_are_2_with_a_page(own_dir: Path, tmp_path: Path):
    run = CliRunner()
    result = run.invoke(app, ["check", "--data", str(own_dir)])
    assert result.exit_code == 0, result.output
    assert f"IDX files in {own_dir}" in result.output.replace("\n", "")
    assert "none would stop a run" in result.output
    corruption.corrupt_files(own_dir, blank_some)
    page = tmp_path / "page.html"
    result = run.invoke(app, ["check", "--data", str(own_dir), "-o", str(page)])
    assert result.exit_code == 2
    assert "STOPS  blank: 2 of 3,000 train images are blank: 3, 8." in result.output
    assert "2 of 3,000 train images are blank: 3, 8." in page.read_text()
    result = run.invoke(app, ["check", "--data", str(own_dir), "--allow", "blank"])
    assert result.exit_code == 0, result.output
    result = run.invoke(app, ["check", "--data", str(own_dir), "--allow", "blnk"])
    assert result.exit_code == 2
    assert result.output.startswith("inkwell: --allow must be blank, disagree, ")


def test_the_page_escapes_what_the_data_says(own_dir: Path):
    verdict = check.check_data(str(own_dir), DataConfig())
    assert "<script>" not in page.page(verdict, "<script>")


def test_a_baseline_of_known_faults_has_a_way_on(own_dir: Path):
    corruption.corrupt_files(own_dir, blank_some)
    with pytest.raises(gate.DataGateError, match=r"data.allow=\[blank,schema\]") as caught:
        baselines.write_baseline(str(own_dir))
    assert caught.value.names == ["blank", "schema"]
    assert not (own_dir / "schema.pbtxt").exists()
    written = baselines.write_baseline(str(own_dir), DataConfig(allow=("blank",)))
    assert [Path(path).name for path in written] == ["schema.pbtxt", "baseline.pbtxt"]
    assert not check.check_data(str(own_dir), DataConfig(allow=("blank",))).stops


def test_labels_with_gaps_can_be_recorded(own_dir: Path):
    corruption.corrupt_files(own_dir, corruption.drop_class)
    baselines.write_baseline(str(own_dir), DataConfig(allow=("gaps",)))
    assert check.check_data(str(own_dir), DataConfig()).stops
    assert not check.check_data(str(own_dir), DataConfig(allow=("gaps",))).stops


@pytest.mark.parametrize(
    "convention",
    [lambda x: x // 3, lambda x: 255 - x, lambda x: (128 + x // 2).astype(np.uint8)],
    ids=["faint", "white paper", "128 to 255"],
)
def test_drift_is_noticed_whatever_the_brightness(own_dir: Path, convention):
    splits = data.read_data(str(own_dir)).splits
    images = {"train": splits["train"].images, "t10k": splits["test"].images}

    def put(change):
        for prefix, some in images.items():
            path = own_dir / f"{prefix}-images-idx3-ubyte.gz"
            idx.write_idx(str(path), np.ascontiguousarray(change(convention(some))))

    put(lambda x: x)
    baselines.write_baseline(str(own_dir))
    assert not check.check_data(str(own_dir), DataConfig()).stops
    put(lambda x: x.transpose(0, 2, 1))
    rows = check.check_data(str(own_dir), DataConfig()).rows
    assert any(row.name == "drift" and row.sentence.startswith("width in t") for row in rows)


def test_the_page_shows_images_and_drift_beside_the_baseline(own_dir: Path):
    def parts() -> tuple[int, int]:
        text = page.page(check.check_data(str(own_dir), DataConfig()), str(own_dir))
        return text.count("data:image/png;base64,"), text.count("<polyline")

    assert parts() == (1, 0)
    baselines.write_baseline(str(own_dir))
    assert parts() == (1, 2 * (len(scalars.NAMES) + 1))


@needs_chromium
def test_the_page_is_accessible_and_fits_the_window(own_dir: Path, tmp_path: Path):
    baselines.write_baseline(str(own_dir))
    corruption.corrupt_files(own_dir, blank_some)
    path = tmp_path / "page.html"
    path.write_text(page.page(check.check_data(str(own_dir), DataConfig()), str(own_dir)))
    with open_browser(tmp_path / "profile") as browser:
        tab = browser.new_page()
        tab.goto(path.as_uri())
        for scheme, width in itertools.product(("light", "dark"), (390, 1280)):
            tab.emulate_media(color_scheme=scheme)
            tab.set_viewport_size({"width": width, "height": 800})
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert violations(tab) == []


def test_data_that_cannot_be_written_has_its_baseline_beside_links(own_dir: Path, tmp_path: Path):
    to = tmp_path / "beside"
    command = ["baseline", "--data", str(own_dir), "--to", str(to)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert not (own_dir / "baseline.pbtxt").exists()
    assert not check.check_data(str(to), DataConfig()).stops
    assert check.check_data(str(to), DataConfig()).baseline is not None
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 2 and "exists already" in again.output
