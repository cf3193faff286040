"""TensorBoard over the runs of a directory: it starts, and has their scalars."""

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


@pytest.mark.slow
def test_it_starts_and_serves_the_scalars_of_every_run(tmp_path):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    place = Place(tmp_path)
    [logs] = place.execute(RUN, "gan", {"model_run": {}})
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
    address = f"http://127.0.0.1:{port}/data/plugin/scalars/tags"
    try:
        found, end = {}, time.monotonic() + 120
        while not found and time.monotonic() < end and process.poll() is None:
            try:
                with urllib.request.urlopen(address, timeout=5) as answer:
                    found = json.load(answer)
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        assert list(found) == [f"smoke/{RUN}/gan"] and "loss" in found[f"smoke/{RUN}/gan"]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
