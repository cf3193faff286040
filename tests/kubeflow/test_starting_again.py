"""Which faults start a node again in its pod, how often, and how that ends."""

import errno
import os
import sys

import pytest

from core.config import InputError
from pipeline.kubeflow import entrypoint, starting_again
from pipeline.kubeflow.starting_again import passing_fault, retry_waits, start_again

WORDS = ["gan", "{}", "--settings=0"]


def hidden(error: BaseException, cause: BaseException) -> BaseException:
    """``error`` as raised ``from None`` while ``cause`` was handled."""
    try:
        try:
            raise cause
        except type(cause):
            raise error from None
    except type(error) as caught:
        return caught


def system(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/models/gan")


class UnavailableError(Exception):
    """As that of TensorFlow is called."""


@pytest.mark.parametrize(
    "error",
    [
        system(errno.ESTALE),
        system(errno.EIO),
        system(errno.ETIMEDOUT),
        ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)),
        hidden(InputError("/models cannot be read (Stale file handle)."), system(errno.ESTALE)),
        hidden(InputError("The champion cannot be loaded."), system(errno.EIO)),
        RuntimeError("OSError: [Errno 5] Input/output error [while running 'WriteSplit']"),
        UnavailableError("Error executing an HTTP request: libcurl code 6"),
    ],
)
def test_a_fault_of_the_store_or_the_network_passes(error):
    assert passing_fault(error)


@pytest.mark.parametrize(
    "error",
    [
        InputError("The labels hold one class; give at least two."),
        hidden(InputError("data/mnist cannot be read."), system(errno.EACCES)),
        system(errno.ENOENT),
        system(errno.ENOSPC),
        ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)),
        MemoryError(),
        ZeroDivisionError("division by zero"),
    ],
)
def test_what_would_be_the_same_again_does_not(error):
    assert passing_fault(error) == ""


def test_tensorflow_says_so_by_these_names():
    from tensorflow import errors

    for name in starting_again._PASSING_TYPES:
        assert passing_fault(getattr(errors, name)(None, None, "gs://acme/data"))
    assert not passing_fault(errors.NotFoundError(None, None, "gs://acme/data"))


class Started(BaseException):
    """In place of the new process."""


@pytest.fixture
def world(monkeypatch) -> list:
    """What was waited and started."""
    seen: list = []

    def execute(program, words):
        seen.append((program, words))
        raise Started

    monkeypatch.setattr(starting_again.time, "sleep", seen.append)
    monkeypatch.setattr(starting_again.os, "execv", execute)
    for variable in (starting_again.WAITS_VARIABLE, starting_again._COUNT_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "a.module", "--node_id", "gan"])
    return seen


def test_the_same_command_starts_three_times_more_after_longer_and_longer_waits(world, caplog):
    for _ in range(3):
        with pytest.raises(Started):
            start_again("OSError: Stale file handle", retry_waits())
    start_again("OSError: Stale file handle", retry_waits())  # comes back: the pod gives up
    started = (sys.executable, [sys.executable, "-m", "a.module", "--node_id", "gan"])
    assert world == [10, started, 30, started, 90, started]
    assert [record.getMessage()[-9:] for record in caplog.records[:3]] == [
        f"({n} of 3)." for n in (1, 2, 3)
    ]
    assert "has started the node 4 times, and gives up" in caplog.records[3].getMessage()


def test_the_waits_are_a_variable_and_none_are_none(world, monkeypatch):
    monkeypatch.setenv(starting_again.WAITS_VARIABLE, "")
    start_again("fault", retry_waits())
    assert world == []


@pytest.mark.parametrize("wrong", ["soon", "-1", "nan", "99999"])
def test_wrong_waits_end_with_2_before_anything_is_done(monkeypatch, capsys, wrong):
    monkeypatch.setattr(entrypoint, "run_task", None)
    monkeypatch.setenv(starting_again.WAITS_VARIABLE, wrong)
    assert entrypoint.main(WORDS) == 2
    assert capsys.readouterr().err.startswith("gan: INKWELL_RETRY_WAITS must hold seconds from 0")


@pytest.mark.parametrize(
    ("error", "code", "starts"),
    [
        (InputError("The labels hold one class."), 2, 0),
        (InputError("/models cannot be read (Stale file handle)."), 1, 1),
    ],
)
def test_a_users_mistake_ends_at_once_and_a_lost_store_is_none(
    world, monkeypatch, capsys, error, code, starts
):
    def run_task(arguments, resolve):
        raise error

    monkeypatch.setattr(entrypoint, "run_task", run_task)
    monkeypatch.setenv(starting_again.WAITS_VARIABLE, "1" if starts else "1 2")
    for _ in range(starts):
        with pytest.raises(Started):
            entrypoint.main(WORDS)
    assert entrypoint.main(WORDS) == code
    assert len(world) == 2 * starts
    assert capsys.readouterr().err.splitlines()[-1] == f"gan: {error}"
