"""Fixtures that every test may use: the real MNIST files, and a small cut of them.

The environment is set here, before any test module can import TensorFlow or TFX: both read it at
import time, and tensorflow_transform would otherwise switch Keras to its legacy version.
"""

import gzip
import os
import struct
from pathlib import Path

import pytest

os.environ["TF_USE_LEGACY_KERAS"] = "0"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as in a run
# Several processes share the tests: threads of TensorFlow that wait for each other only cost.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

ROOT = Path(__file__).resolve().parents[1]
SMALL_TRAIN, SMALL_TEST = 3000, 600
_LONGEST = "tests/e2e"


def cut_idx(source: Path, target: Path, count: int) -> None:
    """Writes the first ``count`` records of the IDX file ``source`` to ``target``, both gzip."""
    with gzip.open(source, "rb") as stream:
        magic, total = struct.unpack(">II", stream.read(8))
        inner = stream.read(4 * ((magic & 0xFF) - 1))  # the sizes of the inner dimensions
        record = 1
        for (size,) in struct.iter_unpack(">I", inner):
            record *= size
        if count > total:
            raise ValueError(f"{source.name} holds {total} records, not {count}")
        body = stream.read(count * record)
    # mtime 0: the same cut is the same bytes, so caches that hash the file stay valid.
    with open(target, "wb") as raw, gzip.GzipFile("", "wb", 1, raw, mtime=0) as stream:
        stream.write(struct.pack(">II", magic, count) + inner + body)


def pytest_addoption(parser):
    parser.addoption("--extended", action="store_true", help="run the tests marked extended alone")


def pytest_collection_modifyitems(config, items):
    """Leaves the extended tests out, or all others; a test that is named by its id always runs."""
    wanted = config.getoption("--extended")
    named = {word.partition("[")[0] for word in config.args if "::" in word}
    kept, left = [], []
    for item in items:
        is_extended = item.get_closest_marker("extended") is not None
        is_named = item.nodeid.partition("[")[0] in named
        (kept if is_named or is_extended == wanted else left).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests of one folder run in one process: they share what is made once, such as a pipeline.

    The whole pipelines of ``e2e`` take longest, so they start first; one process would otherwise
    end with them while the other has nothing left to do.
    """
    from xdist.scheduler import LoadScopeScheduling

    class LoadFolderScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.partition("::")[0].rpartition("/")[0]

        def _assign_work_unit(self, node) -> None:
            if _LONGEST in self.workqueue:
                self.workqueue.move_to_end(_LONGEST, last=False)
            super()._assign_work_unit(node)

    return LoadFolderScheduling(config, log)


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The four real MNIST files of the checkout."""
    return ROOT / "data" / "mnist"


@pytest.fixture(scope="session")
def small_mnist_dir(mnist_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real MNIST images and labels: the first 3,000 of train and the first 600 of test."""
    directory = tmp_path_factory.mktemp("small_mnist")
    for prefix, count in (("train", SMALL_TRAIN), ("t10k", SMALL_TEST)):
        for kind in ("images-idx3", "labels-idx1"):
            name = f"{prefix}-{kind}-ubyte.gz"
            cut_idx(mnist_dir / name, directory / name, count)
    return directory
