"""Bounds of one request, checked before memory is allocated for it.

Contract: a few bytes may request a large tensor, a long list or hours of work; each check reads the
request only, and refuses it with one sentence that names the flag.
"""

import contextlib
import dataclasses
import math
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.model_server.bounds import BOUNDS
from serving.model_server.errors import StatusError, invalid, unavailable

MOST_DIMENSIONS = 32
MIB = 2**20
# Parsed JSON may take this many times the largest body: 10,000 black images of 28 x 28 x 1, whose
# pixels are in a list each, take 15 times the 64 MiB of the default.
_JSON_GROWTH = 16
# Python's bytes for a list, an object with one key, and any other value in a list.
_LIST, _OBJECT, _ITEM = 88, 240, 40
_WIDEST = 16  # bytes of a number, at most: complex128
_STRING = 32  # bytes that NumPy and TensorFlow take for a string besides its content
_FILES_LEFT = 256  # for models, logs and libraries, of those that the process may open
_LEAST_CONNECTIONS, _MOST_CONNECTIONS = 32, 10_000
_SMALL, _LARGE = 2**16, MIB
_CONVERTERS, _LARGE_CONVERTERS = threading.Semaphore(2), threading.Semaphore(1)
_TYPES = frozenset(types_pb2.DataType.values())
# Fields of TensorProto with values of their own; the value of half_val is its bits.
_VALUES = {
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_BOOL: "bool_val",
    types_pb2.DT_UINT32: "uint32_val",
    types_pb2.DT_UINT64: "uint64_val",
    types_pb2.DT_HALF: "half_val",
    types_pb2.DT_BFLOAT16: "half_val",
}  # int_val for all other numbers


@dataclasses.dataclass(frozen=True)
class Limits:
    """The bounds of one request, each with its flag."""

    max_instances: int = BOUNDS["max_instances"]  # first dimension of an input
    max_count: int = BOUNDS["max_count"]  # an integer input named `count`: images to generate
    max_steps: int = BOUNDS["max_steps"]  # an integer input named `steps`: of the reverse process
    # Of a request, and of its tensors in memory; --max_request_mib.
    max_bytes: int = BOUNDS["max_request_mib"] * MIB

    def check_instances(self, name: str, count: int) -> None:
        """Raises ``StatusError`` for an input with too many instances."""
        if count > self.max_instances:
            raise invalid(
                f'The input "{name}" holds {count} instances; '
                f"send at most {self.max_instances} at a time (--max_instances)."
            )

    def check_arrays(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Raises ``StatusError`` for too many instances, or a `count` or `steps` out of range."""
        for name, array in inputs.items():
            if array.ndim:
                self.check_instances(name, len(array))
        for name, most in (("count", self.max_count), ("steps", self.max_steps)):
            array = inputs.get(name)
            if array is None or array.dtype.kind not in "iu" or not array.size:
                continue
            for value in (array.min(), array.max()):
                if not 1 <= value <= most:
                    raise invalid(
                        f'The input "{name}" is {value}; it must be between 1 and {most} '
                        f"(--max_{name})."
                    )

    def check_json(self, body: bytes) -> None:
        """Raises ``StatusError`` for a body whose lists and objects would take too much memory.

        The content of strings is counted too: the only large strings are base64, which has none of
        these characters.
        """
        lists, objects, items = (body.count(mark) for mark in (b"[", b"{", b","))
        size = lists * _LIST + objects * _OBJECT + items * _ITEM
        if size > _JSON_GROWTH * self.max_bytes:
            raise invalid(
                f"The lists and objects of the body would take {size / MIB:.0f} MiB of memory; "
                f"at most {_JSON_GROWTH * self.max_bytes / MIB:.0f} MiB are allowed, "
                f"{_JSON_GROWTH} times --max_request_mib."
            )

    def check_size(self, what: str, size: int) -> None:
        """Raises ``StatusError`` for tensors of ``size`` bytes that are too large."""
        if size > self.max_bytes:
            raise invalid(
                f"{what} would take {size / MIB:.0f} MiB of memory; at most "
                f"{self.max_bytes / MIB:.0f} MiB are allowed (--max_request_mib)."
            )

    def check_tensors(self, protos: Mapping[str, tensor_pb2.TensorProto]) -> None:
        """Checks tensors whose types and shapes are those of the signature.

        Raises:
            StatusError: INVALID_ARGUMENT: too many instances, more memory than a request may take,
                or content that does not fill the shape.
        """
        total = 0
        for name, proto in protos.items():
            _, shape = declared(name, proto)
            if shape:
                self.check_instances(name, shape[0])
            size = _size(name, proto, math.prod(shape))
            self.check_size(f'The input "{name}" of shape {list(shape)}', size)
            total += size
        self.check_size("The inputs", total)


def connections_within_files(most: int = 0) -> int:
    """Connections that one of the two fronts may hold, so that files are left for the models.

    Args:
        most: A lower bound; 0 for none.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = min(max((files - _FILES_LEFT) // 2, _LEAST_CONNECTIONS), _MOST_CONNECTIONS)
    return min(most or room, room)


class Budget:
    """Bytes that all requests in flight may take together; safe to use from several threads."""

    def __init__(self, most: int):
        self._most, self._taken = most, 0
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Reserves bytes; raises ``StatusError``, UNAVAILABLE, if they are not there."""
        with self._lock:
            if self._taken + size > self._most:
                raise unavailable(
                    f"Requests in flight take {self._most / MIB:.0f} MiB already "
                    "(--max_requests_mib); try again later."
                )
            self._taken += size

    def give(self, size: int) -> None:
        """Returns reserved bytes."""
        with self._lock:
            self._taken -= size

    @contextlib.contextmanager
    def parts(self) -> Iterator[Callable[[int], None]]:
        """A ``take`` whose bytes return at the end of the block."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            self.take(size)
            taken += size

        try:
            yield take
        finally:
            self.give(taken)


@contextlib.contextmanager
def converting(size: int, end: float) -> Iterator[None]:
    """Bounds how many requests become arrays, or arrays answers, at a time.

    Parsed JSON takes many times its size, and threads that compute in Python hold each other up:
    with 64 of them even a status request would wait for its turn.

    Args:
        size: Bytes of the JSON or of the arrays; small ones do not wait for large ones.
        end: Of time.monotonic(), until which a place is waited for.

    Raises:
        StatusError: DEADLINE_EXCEEDED: there was none.
    """
    if size <= _SMALL:  # under a millisecond, and a place costs more
        yield
        return
    places = _LARGE_CONVERTERS if size > _LARGE else _CONVERTERS
    if not places.acquire(timeout=max(end - time.monotonic(), 0)):
        raise StatusError(
            grpc.StatusCode.DEADLINE_EXCEEDED, "The deadline passed while the request waited."
        )
    try:
        yield
    finally:
        places.release()


def declared(name: str, proto: tensor_pb2.TensorProto) -> tuple[int, tuple[int, ...]]:
    """The type, as TensorFlow numbers it, and the shape that a tensor says it has.

    Raises:
        StatusError: INVALID_ARGUMENT: there is no such type, or the shape is not known, has a
            negative size, too many dimensions, or sizes that no array can have.
    """
    dimensions = proto.tensor_shape.dim
    if len(dimensions) > MOST_DIMENSIONS:
        raise invalid(
            f'The input "{name}" has {len(dimensions)} dimensions; '
            f"at most {MOST_DIMENSIONS} are allowed."
        )
    shape = tuple(dimension.size for dimension in dimensions)
    is_known = proto.dtype in _TYPES and not proto.tensor_shape.unknown_rank
    if not is_known or any(size < 0 for size in shape):
        raise malformed(name)
    # NumPy makes no array, not even an empty one, whose other sizes make more bytes than it counts.
    if 0 in shape and math.prod(filter(None, shape)) * _WIDEST > sys.maxsize:
        raise malformed(name)
    return proto.dtype, shape


def malformed(name: str) -> StatusError:
    """The error for a malformed tensor, in upstream's words."""
    return invalid(f"tensor parsing error: {name}")


def _size(name: str, proto: tensor_pb2.TensorProto, elements: int) -> int:
    """Bytes of the tensor in memory; the last of too few values is repeated to fill it."""
    if proto.dtype == types_pb2.DT_STRING:
        values: Sequence[bytes] = proto.string_val
        if len(values) > elements or proto.tensor_content:
            raise malformed(name)
        last = len(values[-1]) if values else 0
        filled = (elements - len(values)) * last
        return elements * _STRING + sum(map(len, values)) + filled
    size = elements * tf.as_dtype(proto.dtype).size
    if proto.tensor_content:
        if len(proto.tensor_content) != size:
            raise malformed(name)
    elif len(getattr(proto, _VALUES.get(proto.dtype, "int_val"))) > elements:
        raise malformed(name)
    return size
