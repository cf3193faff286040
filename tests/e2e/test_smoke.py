"""The whole pipeline on real images, run as a user runs it; some five minutes on two idle cores."""

import html
import json
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from components.idx_example_gen.data import read_images
from components.idx_example_gen.idx import write_idx
from pipeline.plan import NODES
from tests.conftest import ROOT
from tests.e2e.workplace import MODELS, Workplace, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

IMAGES = "train-images-idx3-ubyte.gz"


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def last_line(result: subprocess.CompletedProcess) -> str:
    return result.stdout.splitlines()[-1]


def test_every_model_is_approved_and_pushed(workplace):
    result = workplace.first
    assert result.returncode == 0, result.stdout + result.stderr
    assert set(workplace.states()) == set(NODES)
    assert set(workplace.states().values()) == {"done"}
    for model, [version] in workplace.versions().items():
        folder = workplace.serving / model / version
        assert (folder / "saved_model.pb").is_file()
        lineage = json.loads((folder / "assets.extra" / "lineage.json").read_text())
        assert lineage["run_id"] == workplace.last_result()["run_id"]
        assert f"{model}: approved, version {version} in {folder}" in result.stdout


def test_the_screen_shows_progress_and_no_noise(workplace):
    lines = workplace.first.stdout.splitlines()
    assert workplace.first.stderr == ""
    for node_id in NODES:
        assert any(line.endswith(f"{node_id} started") for line in lines)
        assert any(f"] {node_id} done, " in line for line in lines)
    assert not any("WARNING" in line or "tensorflow" in line.lower() for line in lines)
    log = (workplace.output / "smoke" / workplace.last_result()["log"]).read_text()
    assert "Component report is finished." in log


def test_nothing_is_left_in_the_home_and_in_the_temporary_folder(workplace):
    assert workplace.first.returncode == 0
    for folder in (workplace.home, workplace.temporary):
        assert sorted(folder.rglob("*")) == []


def test_a_run_that_pushed_says_how_to_see_and_try_it(workplace):
    steps = workplace.first.stdout.splitlines()[-2]
    assert f"inkwell report --output {workplace.output} --open" in steps
    assert f"inkwell serve --serving {workplace.serving} --playground" in steps


def test_the_last_line_is_the_report_with_every_model_in_it(workplace):
    page = Path(last_line(workplace.first))
    assert page.is_file()
    text = html.unescape(page.read_text())
    assert len(text) < 8e6
    assert text.count("Approved and pushed as version") == 2 * len(MODELS)
    assert "missing.</p>" not in text
    for model in MODELS:
        metrics = json.loads(
            next((workplace.serving / model).glob("*/assets.extra/metrics.json")).read_text()
        )
        assert metrics["figures"] and all(f["title"] in text for f in metrics["figures"])


def test_lists_show_the_run_and_the_models(workplace):
    def inkwell(*arguments: str) -> str:
        command = [sys.executable, "-m", "pipeline.cli.main", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=environment(), check=True
        ).stdout

    assert "pushed" in inkwell("runs", "--output", str(workplace.output))
    served = inkwell("models", "--serving", str(workplace.serving))
    assert all(model in served for model in MODELS) and served.count("newest") == 3
    page = inkwell("report", "--output", str(workplace.output)).strip()
    assert page == last_line(workplace.first)


def test_a_second_run_is_cached_and_over_soon(workplace):
    before, versions = cpu_seconds(), workplace.versions()
    result = workplace.run()
    assert result.returncode == 0, result.stdout + result.stderr
    assert set(workplace.states().values()) == {"cached"}
    assert workplace.versions() == versions
    # Work, not time on the clock, which would measure what else the machine does.
    assert cpu_seconds() - before < 30


def test_a_model_that_fails_its_gate_is_not_pushed_and_the_run_says_so(workplace):
    versions = workplace.versions()
    result = workplace.run("--set", "evaluator.gates.gan.frechet_distance.threshold=0")
    assert result.returncode == 3, result.stdout + result.stderr
    done = {node_id for node_id, state in workplace.states().items() if state == "done"}
    assert done == {"evaluate-gan", "push-gan", "report"}
    assert workplace.versions() == versions
    assert "gan: not approved." in result.stdout
    [end] = [line for line in result.stdout.splitlines() if line.startswith("Done in ")]
    assert re.search(r"; pushed: autoencoder, diffusion; not pushed: gan \(.+, at most 0\)\.$", end)
    assert "Not approved" in Path(last_line(result)).read_text()


def test_a_version_that_was_deleted_is_pushed_again_from_the_cache(workplace):
    [old] = workplace.versions()["gan"]
    shutil.rmtree(workplace.serving / "gan" / old)
    result = workplace.run()
    assert result.returncode == 0, result.stdout + result.stderr
    done = {node_id for node_id, state in workplace.states().items() if state == "done"}
    assert done == {"push-gan", "report"}
    [new] = workplace.versions()["gan"]
    assert int(new) > int(old)


def copy_data(source: Path, target: Path) -> Path:
    target.mkdir()
    for path in source.iterdir():
        shutil.copy(path, target)
    return target


def test_a_damaged_file_is_one_sentence_and_exit_code_2(mnist_dir, tmp_path):
    data = copy_data(mnist_dir, tmp_path / "data")
    (data / IMAGES).write_bytes((data / IMAGES).read_bytes()[:-1000])
    place = Workplace(tmp_path)
    result = place.run("--data", str(data))
    assert result.returncode == 2, result.stdout + result.stderr
    [sentence] = result.stderr.splitlines()
    assert IMAGES in sentence and "cut short" in sentence
    assert result.stdout == "" and not place.output.exists()  # found before anything started


def test_inverted_images_stop_at_the_data_gate_with_the_anomalies_in_words(mnist_dir, tmp_path):
    data = copy_data(mnist_dir, tmp_path / "data")
    write_idx(str(data / IMAGES), np.uint8(255) - read_images(str(data), "train"))
    place = Workplace(tmp_path)
    result = place.run("--data", str(data), "--set", "data.max_images=1000")
    assert result.returncode == 2, result.stdout + result.stderr
    assert place.states()["data-gate"] == "failed"
    assert place.states()["judge"] == "not run"
    assert "mean_intensity" in result.stdout or "inverted" in result.stdout
    words, _, path = result.stdout.splitlines()[-1].partition(": ")
    assert words == "The data beside the baseline"
    assert Path(path).read_text().count("<polyline") == 18


def test_an_interrupted_run_says_how_to_go_on_and_goes_on(mnist_dir, tmp_path):
    place = Workplace(tmp_path)
    process = subprocess.Popen(
        place.command("--set", "data.max_images=1000"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**place.environment(), "PYTHONUNBUFFERED": "1"},
        # A job in the background of a script inherits an ignored SIGINT; a terminal's does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.rstrip().endswith("statistics-gen started"):
            time.sleep(2)  # into the work of the node, where Beam's threads are running
            process.send_signal(signal.SIGINT)
            break
    lines += process.stdout
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, "".join(lines) + errors
    assert "Run the same command again" in "".join(lines) and errors == ""
    assert place.states()["example-gen"] == "done"
    # Where a library swallows the interrupt, the run ends with the node, not within it.
    assert place.states()["statistics-gen"] in ("interrupted", "done")
    assert place.states()["transform"] == "not run"
