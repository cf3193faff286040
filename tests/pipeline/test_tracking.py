"""Runs in MLflow, read back by its own client; mistakes end before training."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.config import InputError
from pipeline.local import tracking
from tests.conftest import ROOT
from tests.pipeline.records import Place

RUN = "20260821-101500"
IS_INSTALLED = importlib.util.find_spec("mlflow") is not None
needs_mlflow = pytest.mark.skipif(
    not IS_INSTALLED, reason="the extra is not installed: pip install 'inkwell[mlflow]'"
)


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A run of the GAN, pushed with a card."""
    place = Place(tmp_path)
    extra = tmp_path / "serving" / "gan" / "18" / "assets.extra"
    extra.mkdir(parents=True)
    (extra / "model_card.md").write_text("card")
    place.read_data(RUN, "a" * 64)
    settings = {"gan": {"epochs": 8, "layers": ["a"]}, "mlflow": "not logged"}
    place.record(RUN, settings, commit="c1", destination=str(extra.parent))
    return place.folder / "runs" / f"{RUN}.json"


@needs_mlflow
def test_a_run_is_read_back_with_its_settings_metrics_verdicts_and_card(record, tmp_path):
    uri = (tmp_path / "mlflow").as_uri()
    tracking.check(uri)
    is_logged, words = tracking.log_run(record, uri)
    assert is_logged and words.startswith(f"Logged to MLflow at {uri}")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("inkwell")
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == RUN and run.info.status == "FINISHED"
    assert run.data.params == {"gan.epochs": "8", "gan.layers": '["a"]'}
    assert run.data.metrics == {"gan/fd": 4.5}
    tags = {name: run.data.tags.get(name) for name in ("commit", "data_digest", "verdict.gan")}
    assert tags == {"commit": "c1", "data_digest": "a" * 64, "verdict.gan": "pushed as 18"}
    cards = client.list_artifacts(run.info.run_id, "cards/gan")
    assert [card.path for card in cards] == ["cards/gan/model_card.md"]


@needs_mlflow
def test_a_server_that_does_not_answer_is_a_sentence_and_no_error(record, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    is_logged, words = tracking.log_run(record, "http://127.0.0.1:9")
    assert not is_logged and "could not be logged to MLflow at http://127.0.0.1:9" in words
    assert "\n" not in words


@needs_mlflow
def test_what_cannot_work_is_refused_before_a_run():
    with pytest.raises(InputError, match="MLFLOW_TRACKING_PASSWORD"):
        tracking.check("http://me:secret@localhost:5000")
    with pytest.raises(InputError, match="MLflow cannot use gopher://x"):
        tracking.check("gopher://x")


@pytest.mark.skipif(IS_INSTALLED, reason="the extra is installed")
def test_a_missing_extra_ends_the_command_before_anything_starts(tmp_path):
    command = ["run", "--profile", "smoke", "--mlflow", "mlruns", "--output", str(tmp_path / "out")]
    run = subprocess.run(
        [sys.executable, "-m", "pipeline.cli.main", *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert run.returncode == 2 and "pip install 'inkwell[mlflow]'" in run.stderr
    assert not (tmp_path / "out").exists()
