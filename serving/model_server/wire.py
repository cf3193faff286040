"""Bounds the fields of a gRPC request before protobuf makes objects of them.

Two bytes on the wire may become an object of 200 in memory, so a request of 64 MiB could take 7
GiB. Contract: whatever protobuf accepts either passes here unchanged or is refused in a sentence;
groups and anything that is not a message are refused. Costs a microsecond a field, and a tensor's
values are one field.
"""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from serving.model_server.errors import invalid
from serving.model_server.limits import Limits

_Request = TypeVar("_Request", bound=Message)
_MOST_BYTES = 2**20  # of every call but Predict: none carries more than a configuration
_MOST_FIELDS = 2**17
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Which field holds the level below: an input, its tensor, the tensor's shape.
_DOWN = (PredictRequest.INPUTS_FIELD_NUMBER, 2, TensorProto.TENSOR_SHAPE_FIELD_NUMBER)
_TENSOR = 2  # level of a tensor's own fields
# Numbers of as little as one byte on the wire, and what each takes in memory.
_PACKED = {
    TensorProto.INT_VAL_FIELD_NUMBER: 4,
    TensorProto.INT64_VAL_FIELD_NUMBER: 8,
    TensorProto.BOOL_VAL_FIELD_NUMBER: 1,
    TensorProto.HALF_VAL_FIELD_NUMBER: 4,
    TensorProto.UINT32_VAL_FIELD_NUMBER: 4,
    TensorProto.UINT64_VAL_FIELD_NUMBER: 8,
}
_NESTED = {TensorProto.RESOURCE_HANDLE_VAL_FIELD_NUMBER, TensorProto.VARIANT_VAL_FIELD_NUMBER}


def parse(body: bytes, request_class: type[_Request]) -> _Request:
    """Checks a request of a call other than Predict, which must be small.

    Raises:
        StatusError: INVALID_ARGUMENT: the request is too large or malformed.
    """
    if len(body) > _MOST_BYTES:
        raise invalid(
            f"The {request_class.__name__} holds {len(body)} bytes; "
            f"at most {_MOST_BYTES} are allowed."
        )
    return _decode(body, request_class)


def parse_predict(body: bytes, limits: Limits) -> PredictRequest:
    """Checks a predict request, so that it takes at most a few times its size in memory.

    Raises:
        StatusError: INVALID_ARGUMENT: too many fields, or not a PredictRequest.
    """
    size = 0  # of the numbers below, once they are unpacked
    for found, (level, number, start, end) in enumerate(_walk(body, 0, len(body), 0), 1):
        if found > _MOST_FIELDS:
            raise invalid(
                f"The request holds more than {_MOST_FIELDS} fields of protocol buffers; "
                "send fewer strings, and numbers packed."
            )
        if level == _TENSOR and number in _NESTED:
            raise invalid("The request holds a resource or a variant, which no signature takes.")
        if level == _TENSOR and number in _PACKED and start < end:
            values = np.count_nonzero(np.frombuffer(body, np.uint8, end - start, start) < 0x80)
            size += int(values) * _PACKED[number]
            limits.check_size("The numbers of the request", size)
    return _decode(body, PredictRequest)


def _walk(data: bytes, at: int, end: int, level: int) -> Iterator[tuple[int, int, int, int]]:
    """Level, number, and where the bytes lie of every field down to a tensor's dimensions."""
    while at < end:
        tag, at = _varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        start = at
        if kind == _VARINT:
            _, at = _varint(data, at, end)
            start = at  # no bytes
        elif kind == _BYTES:
            length, start = _varint(data, at, end)
            at = start + length
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise _not_a("PredictRequest")
        if at > end:
            raise _not_a("PredictRequest")
        yield level, number, start, at
        if kind == _BYTES and level < len(_DOWN) and number == _DOWN[level]:
            yield from _walk(data, start, at, level + 1)


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _not_a("PredictRequest")


def _decode(body: bytes, request_class: type[_Request]) -> _Request:
    try:
        return request_class.FromString(body)
    except DecodeError:
        raise _not_a(request_class.__name__) from None


def _not_a(name: str) -> Exception:
    return invalid(f"The request is not a {name} of protocol buffers.")
