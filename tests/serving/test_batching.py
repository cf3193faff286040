"""Dynamic batching on plain functions: who shares a batch, limits, deadlines, failures."""

import concurrent.futures
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from serving.model_server.batching import BatchScheduler
from serving.model_server.config import BatchingParameters, ConfigError, read_batching
from serving.model_server.errors import StatusError, invalid
from serving.model_server.running import Running, Work

CODE = grpc.StatusCode


class Recorder:
    """Doubles what it gets, and keeps the sizes; may be held."""

    def __init__(self):
        self.sizes: list[int] = []
        self.may_go = threading.Event()
        self.may_go.set()

    def __call__(self, inputs):
        self.may_go.wait(10)
        self.sizes.append(len(inputs["x"]))
        if (inputs["x"] < 0).any():
            raise invalid("negative")
        return {"y": inputs["x"] * 2}


def scheduler(**parameters) -> BatchScheduler:
    return BatchScheduler(BatchingParameters(**{"num_batch_threads": 1} | parameters))


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    yield (found := Recorder())
    found.may_go.set()


def rows(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array(values, "float32")}


def ask_all(batches: BatchScheduler, function, requests, key="k"):
    with concurrent.futures.ThreadPoolExecutor(len(requests)) as pool:
        return list(
            pool.map(lambda r: batches.run(key, function, r, Work())["y"].tolist(), requests)
        )


def test_waiting_requests_share_a_batch_and_get_their_own_rows(recorder):
    batches = scheduler(max_batch_size=64, batch_timeout_micros=200_000)
    answers = ask_all(batches, recorder, [rows(i, i + 0.5) for i in range(16)])
    assert answers == [[2 * i, 2 * i + 1] for i in range(16)]
    assert recorder.sizes == [32]
    batches.close()


def test_full_batch_does_not_wait(recorder):
    batches = scheduler(max_batch_size=4, batch_timeout_micros=60_000_000)
    started = time.monotonic()
    ask_all(batches, recorder, [rows(i) for i in range(4)])
    assert time.monotonic() - started < 10 and recorder.sizes == [4]
    batches.close()


def test_a_batch_holds_no_more_rows_than_it_may(recorder):
    batches = scheduler(max_batch_size=4, batch_timeout_micros=100_000)
    answers = ask_all(batches, recorder, [rows(i, i, i) for i in range(5)])
    assert answers == [[2 * i] * 3 for i in range(5)] and recorder.sizes == [3] * 5
    batches.close()


def test_lone_request_waits_no_longer_than_the_timeout(recorder):
    batches = scheduler(max_batch_size=4, batch_timeout_micros=50_000)
    started = time.monotonic()
    batches.run("k", recorder, rows(1), Work())
    assert 0.05 <= time.monotonic() - started < 5
    batches.close()


def test_keys_are_kept_apart(recorder):
    batches = scheduler(max_batch_size=64, batch_timeout_micros=100_000)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: batches.run(i % 2, recorder, rows(i), Work()), range(4)))
    assert recorder.sizes == [2, 2]
    batches.close()


def test_large_request_is_split(recorder):
    batches = scheduler(max_batch_size=4)
    values = np.arange(10)
    assert batches.run("k", recorder, rows(*values), Work())["y"].tolist() == list(values * 2)
    assert recorder.sizes == [4, 4, 2]
    batches.close()
    batches = scheduler(max_batch_size=4, enable_large_batch_splitting=False)
    with pytest.raises(StatusError, match="Task size 10 is larger than maximum input batch size 4"):
        batches.run("k", recorder, rows(*values), Work())
    batches.close()


def test_batches_are_padded_to_allowed_sizes(recorder):
    batches = scheduler(max_batch_size=8, allowed_batch_sizes=(2, 8))
    assert batches.run("k", recorder, rows(1, 2, 3), Work())["y"].tolist() == [2, 4, 6]
    assert batches.run("k", recorder, rows(1), Work())["y"].tolist() == [2]
    assert recorder.sizes == [8, 2]
    batches.close()


def test_full_queue_is_unavailable_and_recovers(recorder):
    batches = scheduler(max_batch_size=1, max_enqueued_batches=3)
    recorder.may_go.clear()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        running = [pool.submit(batches.run, "k", recorder, rows(0), Work())]
        while batches._queues:  # until the thread has taken it
            time.sleep(0.01)
        running += [pool.submit(batches.run, "k", recorder, rows(i), Work()) for i in range(1, 4)]
        while sum(map(len, batches._queues.values())) < 3:
            time.sleep(0.01)
        with pytest.raises(
            StatusError, match="queue to which this task was submitted is full"
        ) as e:
            batches.run("k", recorder, rows(4), Work())
        assert e.value.code == CODE.UNAVAILABLE
        recorder.may_go.set()
        assert [future.result()["y"].tolist() for future in running] == [[0], [2], [4], [6]]
    assert batches.run("k", recorder, rows(5), Work())["y"].tolist() == [10]
    batches.close()


def test_request_that_gave_up_is_not_run(recorder):
    batches = scheduler(max_batch_size=1)
    recorder.may_go.clear()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(batches.run, "k", recorder, rows(1), Work())
        while batches._queues:
            time.sleep(0.01)
        with pytest.raises(StatusError) as caught, Running().work(0.05) as soon:
            batches.run("k", recorder, rows(2), soon)
        assert caught.value.code == CODE.DEADLINE_EXCEEDED
        recorder.may_go.set()
        first.result()
    batches.run("k", recorder, rows(3), Work())
    assert len(recorder.sizes) == 2
    batches.close()


def test_bad_request_fails_alone(recorder):
    batches = scheduler(max_batch_size=64, batch_timeout_micros=100_000)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        good = [pool.submit(batches.run, "k", recorder, rows(i), Work()) for i in (1, 2)]
        bad = pool.submit(batches.run, "k", recorder, rows(-1), Work())
        assert [future.result()["y"].tolist() for future in good] == [[2], [4]]
        with pytest.raises(StatusError, match="negative"):
            bad.result()
    batches.close()


def test_outputs_that_are_no_rows_are_refused():
    batches = scheduler()
    with pytest.raises(StatusError, match="0th dimension") as caught:
        batches.run("k", lambda inputs: {"y": inputs["x"].sum(keepdims=True)}, rows(1, 2), Work())
    assert caught.value.code == CODE.FAILED_PRECONDITION
    batches.close()


def test_closing_ends_what_waits(recorder):
    batches = scheduler(max_batch_size=8, batch_timeout_micros=60_000_000)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(batches.run, "k", recorder, rows(1), Work())
        while not batches._queues:
            time.sleep(0.01)
        batches.close()
        with pytest.raises(StatusError, match="stopping"):
            waiting.result(5)
    with pytest.raises(StatusError, match="stopping"):
        batches.run("k", recorder, rows(1), Work())


def test_parameters_are_read(tmp_path: Path):
    file = tmp_path / "batching.config"
    file.write_text(
        "max_batch_size { value: 32 } batch_timeout_micros { value: 5000 }\n"
        "max_enqueued_batches { value: 64 } num_batch_threads { value: 2 }\n"
        "allowed_batch_sizes: 8 allowed_batch_sizes: 32\n"
        "enable_large_batch_splitting { value: false }\n"
    )
    assert read_batching(file) == BatchingParameters(32, 5000, 64, 2, 0, False, (8, 32))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("max_batch_size: 32", "not as it should be"),
        ("max_batchsize { value: 32 }", "not as it should be"),
        ("max_batch_size { value: 0 }", "max_batch_size must be at least 1"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", "must be the largest batch, 8"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [8, 4]", "must increase"),
        ("batch_timeout_micros { value: -1 }", "use 0 or more"),
    ],
)
def test_wrong_parameters_are_told(tmp_path: Path, text, reason):
    file = tmp_path / "batching.config"
    file.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        read_batching(file)
