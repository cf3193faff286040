"""The nodes on Beam, with workers in processes of their own: Beam's Python job service."""

import contextlib
import dataclasses
import functools
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tfx")
import tensorflow as tf
from tensorflow_metadata.proto.v0 import statistics_pb2

from pipeline.config import RunConfig, load_config
from pipeline.local.runner import run
from serving.model_server.starting import free_ports
from tests.conftest import ROOT

pytestmark = pytest.mark.extended
ON_BEAM = ("example-gen", "schema", "statistics-gen", "transform")


def nodes_on_beam(config: RunConfig, root: str, connection):
    """The pipeline of these nodes alone."""
    from tfx.orchestration.pipeline import Pipeline

    from pipeline.pipeline import create_pipeline

    kept = [n for n in create_pipeline(config, root, connection).components if n.id in ON_BEAM]
    for node in kept:  # TFX refuses names of missing nodes
        node.downstream_nodes.intersection_update(kept)
        node.upstream_nodes.intersection_update(kept)
    return Pipeline(
        pipeline_name="inkwell",
        pipeline_root=root,
        components=kept,
        metadata_connection_config=connection,
        beam_pipeline_args=list(config.beam_args),
    )


@contextlib.contextmanager
def service(module: str, port: int, option: str, folder: Path) -> Iterator[Path]:
    """A server of Beam that has opened its port; the file of its log."""
    log = folder / f"{module.rpartition('.')[2]}.log"
    folder.mkdir(exist_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, f"--{option}={port}"],
            cwd=folder,
            # The pool starts its workers with the first `python` there is.
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            end = time.monotonic() + 60
            while time.monotonic() < end:
                with contextlib.suppress(OSError), socket.create_connection(("localhost", port), 1):
                    break
                assert process.poll() is None, log.read_text()
                time.sleep(0.2)
            yield log
        finally:
            process.terminate()
            process.wait(30)


def examples(folder: Path) -> dict[str, list[dict]]:
    """Every example of the only such artifact below ``folder``, in order, by split."""
    found = {}
    for path in sorted(folder.glob("*/Split-*/*")):
        records = tf.data.TFRecordDataset(str(path), "GZIP").as_numpy_iterator()
        found.setdefault(path.parent.name, []).extend(map(_columns, records))
    return found


def _columns(record: bytes) -> dict:
    feature = tf.train.Example.FromString(record).features.feature
    return {name: value.SerializeToString() for name, value in sorted(feature.items())}


def statistics(folder: Path) -> dict[str, dict[str, tuple]]:
    """Count, mean and standard deviation of every number, by split."""
    found = {}
    for path in folder.glob("*/Split-*/FeatureStats.pb"):
        message = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes())
        found[path.parent.name] = {
            feature.path.step[0]: (
                feature.num_stats.common_stats.num_non_missing,
                feature.num_stats.mean,
                feature.num_stats.std_dev,
            )
            for feature in message.datasets[0].features
        }
    return found


def test_workers_of_their_own_give_the_same_data(small_mnist_dir, tmp_path):
    def artifacts(name: str, beam_args: list[str] | None) -> Path:
        config = load_config(
            "smoke",
            str(small_mnist_dir),
            [f"output_dir={tmp_path / name}", f"serving_dir={tmp_path / 'serving'}"],
        )
        if beam_args is not None:
            config = dataclasses.replace(config, beam_args=tuple(beam_args))
        result = run(config, build=nodes_on_beam)
        assert result.failure is None, result.failure
        return tmp_path / name / "smoke" / "pipeline"

    jobs, workers = free_ports(2)
    pool = functools.partial(service, "apache_beam.runners.worker.worker_pool_main")
    server = functools.partial(service, "apache_beam.runners.portability.local_job_service_main")
    with (
        server(jobs, "port", tmp_path / "jobs"),
        pool(workers, "service_port", tmp_path / "pool") as log,
    ):
        other = artifacts(
            "other",
            [
                "--runner=PortableRunner",
                f"--job_endpoint=localhost:{jobs}",
                "--environment_type=EXTERNAL",
                f"--environment_config=localhost:{workers}",
                "--sdk_container_image=unused",
            ],
        )
        # TFX may leave the default in place in silence, so the workers are counted.
        assert len(re.findall("Starting worker", log.read_text())) >= 3
    usual = artifacts("usual", None)
    for output in ("example-gen/examples", "transform/transformed_examples"):
        expected = examples(usual / output)
        assert {split: len(found) for split, found in expected.items()}["Split-test"] > 500
        assert examples(other / output) == expected
    expected = statistics(usual / "statistics-gen" / "statistics")
    found = statistics(other / "statistics-gen" / "statistics")
    assert found.keys() == expected.keys() == {"Split-train", "Split-eval", "Split-test"}
    for split, columns in expected.items():
        assert found[split].keys() == columns.keys()
        for name, values in columns.items():
            np.testing.assert_allclose(found[split][name], values, rtol=1e-9)
