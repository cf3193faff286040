"""Data at s3://, on moto's server, which speaks S3 over HTTP."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from components.idx_example_gen import data, s3, storage
from core.config import InputError

pytest.importorskip("obstore")
moto_server = pytest.importorskip("moto.server")


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of a server with an empty bucket ``digits``, to which the variables point."""
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    found = f"http://{host}:{port}"
    for name, value in {
        **{"AWS_ENDPOINT_URL": found, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"},
        **{"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"},
    }.items():
        monkeypatch.setenv(name, value)
    s3._store.cache_clear()
    put(f"{found}/digits")
    yield found
    s3._store.cache_clear()
    server.stop()


def put(url: str, content: bytes = b"") -> None:
    kind = {"Content-Type": "application/octet-stream"}  # urllib's own is that of a form
    request = urllib.request.Request(url, content or None, kind, method="PUT")
    urllib.request.urlopen(request, timeout=30).close()


def test_data_in_a_bucket_is_that_of_the_disk(address: str, small_mnist_dir: Path):
    for path in small_mnist_dir.iterdir():
        put(f"{address}/digits/some/mnist/{path.name}", path.read_bytes())
    there, here = (data.read_data(d) for d in ("s3://digits/some/mnist", str(small_mnist_dir)))
    for split, pair in here.splits.items():
        np.testing.assert_array_equal(there.splits[split].images, pair.images)
        np.testing.assert_array_equal(there.splits[split].labels, pair.labels)
    assert data.digest("s3://digits/some/mnist") == data.digest(str(small_mnist_dir))


def test_folders_are_walked(address: str):
    for name in ("a.csv", "train/7/1.png", "train/.hidden", "test/3/2.png"):
        put(f"{address}/digits/d/{name}", b"x")
    assert storage.list_files("s3://digits/d") == ["a.csv", "test/3/2.png", "train/7/1.png"]
    assert storage.list_files("s3://digits/d", depth=0) == ["a.csv"]
    assert storage.is_dir("s3://digits/d/train") and not storage.is_dir("s3://digits/none")
    assert storage.exists("s3://digits/d/a.csv") and not storage.exists("s3://digits/d/train")
    assert storage.size("s3://digits/d/a.csv") == 1


def test_what_is_not_there_is_one_sentence(address: str):
    with pytest.raises(InputError, match="data directory s3://digits/none does not exist"):
        data.read_data("s3://digits/none")
    with pytest.raises(
        InputError, match=r"s3://nobody/data cannot be read \(Generic S3 error.*404 Not Found\)"
    ):
        data.read_data("s3://nobody/data")
    with pytest.raises(InputError, match=r"s3://digits/a.gz cannot be read \(.*not found"):
        storage.read_bytes("s3://digits/a.gz")
