"""TensorBoard over the runs of a directory: scalars, images and settings."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from PIL import Image

pytest.importorskip("ml_metadata")

from pipeline.local.tensorboard import trainings
from tests.conftest import ROOT
from tests.pipeline.records import Place

RUN = "20260821-101500"


def test_a_training_is_shown_with_its_run_and_node_and_once_where_it_was_cached(tmp_path):
    place = Place(tmp_path)
    [logs] = place.execute(RUN, "gan", {"model_run": {}})
    place.execute("20260822-101500", "gan", {}, cached=(logs,))
    place.execute(RUN, "report", {"report": {}})
    assert dict(trainings(place.output)) == {f"smoke/{RUN}/gan": place.folder / logs}


def ask(address: str, wanted: dict | None = None):
    """The answer to a request, which has a body if something is ``wanted``."""
    body = None if wanted is None else json.dumps(wanted).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_it_starts_and_serves_the_scalars_of_every_run(tmp_path):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    place = Place(tmp_path)
    [logs, model] = place.execute(RUN, "gan", {"model_run": {}, "model": {}})
    samples = place.folder / model / "samples"
    samples.mkdir()
    for step in (20, 40):
        Image.new("L", (28, step)).save(samples / f"step_{step:06}.png")
    place.record(RUN, {"gan": {"epochs": 8, "layers": ["a"]}, "serving_dir": "here"})
    writer = EventFileWriter(str(place.folder / logs))
    value = Summary.Value(tag="loss", simple_value=0.5)
    writer.add_event(Event(step=1, wall_time=1.0, summary=Summary(value=[value])))
    writer.close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["tensorboard", "--output", str(place.output), "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli.main", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    address = f"http://127.0.0.1:{port}/data/plugin"
    results = f"results/smoke/{RUN}"
    try:
        found, end = {}, time.monotonic() + 120
        while len(found) < 2 and time.monotonic() < end and process.poll() is None:
            try:
                found = ask(f"{address}/scalars/tags")
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        assert {run: list(tags) for run, tags in found.items()} == {
            f"smoke/{RUN}/gan": ["loss"],
            results: ["gan/fd"],
        }
        assert list(ask(f"{address}/images/tags")[results]) == ["gan/samples"]
        grids = ask(f"{address}/images/images?tag=gan/samples&run={results}&sample=0")
        assert [grid["step"] for grid in grids] == [20, 40]
        newest = f"{address}/images/individualImage?{grids[1]['query']}"
        with urllib.request.urlopen(newest, timeout=5) as answer:
            assert answer.read() == (samples / "step_000040.png").read_bytes()
        statuses = ["STATUS_SUCCESS", "STATUS_UNKNOWN", "STATUS_FAILURE", "STATUS_RUNNING"]
        wanted = {"experimentName": "", "allowedStatuses": statuses, "sliceSize": 9}
        [group] = ask(f"{address}/hparams/session_groups", wanted)["sessionGroups"]
        assert group["name"] == RUN and group["sessions"][0]["status"] == "STATUS_SUCCESS"
        assert group["hparams"] == {"gan.epochs": 8, "gan.layers": '["a"]'}
        [metric] = group["metricValues"]
        assert (metric["name"]["tag"], metric["value"]) == ("gan/fd", 4.5)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
