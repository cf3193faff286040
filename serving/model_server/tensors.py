"""Arrays as TensorProto, in the fields that upstream's clients read.

Contract: upstream fills ``float_val`` and its like unless --enable_serialization_as_tensor_content
says otherwise, and its examples read these fields. Fixed-size numbers are copied as they lie in
memory, so the fields cost no more than ``tensor_content``.
"""

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto

_BYTES = 2  # kind of a length-delimited field on the wire
# Types whose packed field holds the very bytes of the array.
_COPIED = {
    "float32": (TensorProto.FLOAT_VAL_FIELD_NUMBER, "<f4"),
    "float64": (TensorProto.DOUBLE_VAL_FIELD_NUMBER, "<f8"),
    "bool": (TensorProto.BOOL_VAL_FIELD_NUMBER, "?"),
    "complex64": (TensorProto.SCOMPLEX_VAL_FIELD_NUMBER, "<c8"),
    "complex128": (TensorProto.DCOMPLEX_VAL_FIELD_NUMBER, "<c16"),
}
_LISTED = {
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), "int_val"),
    **{"int64": "int64_val", "uint32": "uint32_val", "uint64": "uint64_val"},
}


def to_proto(array: np.ndarray, as_content: bool = False) -> TensorProto:
    """The proto of an array; strings are object arrays of bytes.

    Args:
        array: Any shape, any type of TensorFlow.
        as_content: Numbers go into ``tensor_content``, in the machine's byte order.
    """
    array = np.asarray(array)
    kind = array.dtype.name
    if as_content and array.dtype.kind not in "OSU":
        dtype = tf.as_dtype(array.dtype).as_datatype_enum
        proto = TensorProto(dtype=dtype, tensor_content=array.tobytes())
    elif kind in _COPIED:
        number, layout = _COPIED[kind]
        data = array.astype(layout, copy=False).tobytes()
        field = _varint(number << 3 | _BYTES) + _varint(len(data)) + data if data else b""
        proto = TensorProto.FromString(field)
        proto.dtype = tf.as_dtype(array.dtype).as_datatype_enum
    elif kind in _LISTED:
        proto = TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
        getattr(proto, _LISTED[kind]).extend(array.ravel().tolist())
    elif kind in ("float16", "bfloat16"):
        proto = TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
        proto.half_val.extend(array.view(np.uint16).ravel().tolist())
    else:  # strings, and quantized types
        return tf.make_tensor_proto(array)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
