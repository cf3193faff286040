"""A schedule over three weeks, with new data each week, through the simulation of the backend."""

import dataclasses
import gzip
import shutil
from pathlib import Path

import pytest
import yaml

from benchmarks.kubeflow_backend import Backend
from pipeline.config import load_config
from pipeline.kubeflow.cluster import DATA_DIGEST, Cluster
from pipeline.kubeflow.compiler import compile_pipeline
from pipeline.kubeflow.spec import DATA_READERS

pytestmark = [pytest.mark.extended, pytest.mark.timeout(900)]

TASKS = (DATA_DIGEST, *DATA_READERS)


def compile_readers(path: Path, cluster: Cluster, data_dir: Path) -> Path:
    """The package, without the tasks that do not read the data."""
    cluster = dataclasses.replace(cluster, data_uri=str(data_dir))
    compile_pipeline(load_config("smoke"), cluster, path)
    spec, platform = yaml.safe_load_all(path.read_text())
    dag, executors = spec["root"]["dag"], spec["deploymentSpec"]["executors"]
    on_kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for task in [name for name in dag["tasks"] if name not in TASKS]:
        del dag["tasks"][task], spec["components"][task]
        del executors[f"{task}_executor"], on_kubernetes[f"{task}_executor"]
    path.write_text(yaml.safe_dump_all([spec, platform]))
    return path


def change_a_pixel(data_dir: Path) -> None:
    """Under the same name, of the same size."""
    [path] = data_dir.glob("train-images*")
    compressed = path.suffix == ".gz"
    content = bytearray(gzip.decompress(path.read_bytes()) if compressed else path.read_bytes())
    content[-400] ^= 1
    path.write_bytes(gzip.compress(bytes(content)) if compressed else bytes(content))


def test_each_week_reads_the_data_of_that_week_and_a_week_without_news_nothing(
    cluster, small_mnist_dir, tmp_path
):
    data = Path(shutil.copytree(small_mnist_dir, tmp_path / "data"))
    package = compile_readers(tmp_path / "pipeline.yaml", cluster, data)
    backend = Backend(tmp_path / "kfp")

    def week() -> dict[str, str]:
        """A run as the schedule starts it: no parameter says anything of the data."""
        run = backend.run(package, {}, pipeline_root=cluster.pipeline_root)
        assert run.succeeded, "\n".join(task.log[-2000:] for task in run.tasks.values())
        return run.states()

    assert set(week().values()) == {"SUCCEEDED"}
    for _ in range(2):
        change_a_pixel(data)
        assert set(week().values()) == {"SUCCEEDED"}  # the schema looks at the images too
    assert week() == {DATA_DIGEST: "SUCCEEDED", **dict.fromkeys(DATA_READERS, "CACHED")}
