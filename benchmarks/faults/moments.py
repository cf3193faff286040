"""What happens inside the process of a run: signals at a moment, clocks, limits, missing locks.

Contract: a function of ``INSIDE`` makes the place ready and returns what the process calls before
the command. Nodes are known by the two log records that ``pipeline.local.watch`` listens to.
"""

import datetime
import errno
import fcntl
import importlib
import logging
import os
import random
import resource
import shutil
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks.faults.place import Place
from pipeline.local.watch import FINISHED, STARTED

_PUBLISH = "tfx.orchestration.portable.launcher:Launcher._publish_successful_execution"


class _At(logging.Handler):
    """Calls ``act`` a number of seconds after a node has started, at its end at the latest."""

    def __init__(self, node_id: str, after: float, act: Callable[[], object]):
        super().__init__(logging.INFO)
        self._node, self._after, self._act = node_id, after, act

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg not in (STARTED, FINISHED) or record.args != (self._node,):
            return
        if record.msg == FINISHED:
            self._act()
        else:
            timer = threading.Timer(self._after, self._act)
            timer.daemon = True
            timer.start()


def at(node_id: str, after: float, act: Callable[[], object]) -> Callable[[], None]:
    """What lets ``act`` happen in a node."""
    return lambda: logging.getLogger("absl").addHandler(_At(node_id, after, act))


def _once(number: int) -> Callable[[], None]:
    sent = threading.Lock()

    def send() -> None:
        if sent.acquire(blocking=False):
            os.kill(os.getpid(), number)

    return send


def again(place: Place, *node_ids: str) -> None:
    """Deletes what nodes have made, so that they run again."""
    for node_id in node_ids:
        shutil.rmtree(place.profile / "pipeline" / node_id)


def kill_in(place: Place, node_id: str, rng: random.Random) -> Callable[[], None]:
    """SIGKILL at a random moment of the node, at the latest before its results are published."""
    kill = _once(signal.SIGKILL)
    after = rng.uniform(0, place.seconds[node_id])

    def publish(function: Callable[..., Any], launcher: Any, *arguments: Any, **named: Any) -> Any:
        if launcher._pipeline_node.node_info.id == node_id:
            kill()
        return function(launcher, *arguments, **named)

    def ready() -> None:
        at(node_id, after, kill)()
        _wrap(_PUBLISH, publish)

    return ready


def signal_in(place: Place, to: str, rng: random.Random) -> Callable[[], None]:
    """``SIGNAL node``, at a random moment."""
    name, node_id = to.split()
    again(place, node_id)
    number = signal.Signals[name]

    def ready() -> None:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else 0)
        at(node_id, rng.uniform(0, place.seconds[node_id]), _once(number))()

    return ready


def kill_at(place: Place, to: str, rng: random.Random) -> Callable[[], None]:
    """``before|after module:function``, in a run that makes the report again; SIGKILL."""
    when, name = to.split()
    again(place, "report")
    if "pusher" in name:
        again(place, "push-gan")
        shutil.rmtree(place.serving / "gan")

    def killed(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        if when == "after":
            function(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    return lambda: _wrap(name, killed)


def _wrap(name: str, around: Callable[..., Any]) -> None:
    """Puts a function around one that is named ``module:function`` or ``module:class.method``."""
    module, _, path = name.partition(":")
    holder: Any = importlib.import_module(module)
    *outer, last = path.split(".")
    for step in outer:
        holder = getattr(holder, step)
    function = getattr(holder, last)
    setattr(holder, last, lambda *arguments, **named: around(function, *arguments, **named))


def clock(place: Place, to: str, rng: random.Random) -> Callable[[], None]:
    """The clock of the process goes back by some days; a node is new, so that there is work."""
    again(place, "report")
    shift = datetime.timedelta(days=float(to))

    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return real_now(tz) + shift

    real_now, real_time = datetime.datetime.now, time.time

    def ready() -> None:
        datetime.datetime = Shifted
        time.time = lambda: real_time() + shift.total_seconds()

    return ready


def no_locks(place: Place, to: str, rng: random.Random) -> Callable[[], None]:
    """A file system that cannot lock, as NFS without its lock service."""
    again(place, "push-gan", "report")
    shutil.rmtree(place.serving / "gan")
    number = getattr(errno, to)

    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return lambda: setattr(fcntl, "flock", flock)


def limit(place: Place, to: str, rng: random.Random) -> Callable[[], None]:
    """``RLIMIT_NAME value``: of the process."""
    name, value = to.split()
    again(place, "report")
    return lambda: resource.setrlimit(getattr(resource, name), (int(value), int(value)))


def stream(place: Place, to: str, rng: random.Random) -> Callable[[], None]:
    """Where the output goes: a full device, a pipe without reader, a closed terminal."""

    def ready() -> None:
        if to == "full":
            target = os.open("/dev/full", os.O_WRONLY)
        elif to == "reader gone":
            reader, target = os.pipe()
            os.close(reader)
        else:
            terminal, target = os.openpty()
            os.close(terminal)
        os.dup2(target, 1)
        os.dup2(target, 2)

    again(place, "report")
    return ready


INSIDE: dict[str, Callable[[Place, str, random.Random], Callable[[], object]]] = {
    "kill in": kill_in,
    "signal in": signal_in,
    "kill at": kill_at,
    "clock": clock,
    "no locks": no_locks,
    "limit": limit,
    "stream": stream,
}
