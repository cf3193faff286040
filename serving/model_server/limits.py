"""Bounds of one request, checked before memory is allocated for it.

Contract: a few bytes may request a large tensor, a long list or hours of work; each check reads the
request only, and refuses it with one sentence that names the flag.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.model_server.errors import StatusError, invalid
from serving.model_server.flags import BOUNDS

MOST_DIMENSIONS = 32
MIB = 2**20
# Parsed JSON may take this many times the largest body: 10,000 black images of 28 x 28 x 1, whose
# pixels are in a list each, take 15 times the 64 MiB of the default.
_JSON_GROWTH = 16
# Python's bytes for a list, an object with one key, and any other value in a list.
_LIST, _OBJECT, _ITEM = 88, 240, 40
_STRING = 32  # bytes that NumPy and TensorFlow take for a string besides its content
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


def declared(name: str, proto: tensor_pb2.TensorProto) -> tuple[int, tuple[int, ...]]:
    """The type, as TensorFlow numbers it, and the shape that a tensor says it has.

    Raises:
        StatusError: INVALID_ARGUMENT: there is no such type, or the shape is not known, has a
            negative size or too many dimensions.
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
