"""JSON of the REST API to arrays and back, by TensorFlow Serving's rules (util/json_tensor.cc).

Contract: both formats, ``instances`` (row) and ``inputs`` (column); bytes as {"b64": ...}; floats
with the fewest digits that give the same float again; NaN and Infinity as such, both ways. Errors
are ``StatusError`` with the upstream texts. Nesting deeper than 1,000 lists is refused.
"""

import base64
import contextlib
import json
from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np
import orjson
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.model_server import json_reader
from serving.model_server.errors import StatusError, invalid
from serving.model_server.limits import MOST_DIMENSIONS, Limits
from serving.model_server.servable import DEFAULT_SIGNATURE, dtype_name

_SHOWN_CHARACTERS = 256  # of a value in an error
_ROWS = 16  # images that are converted at a time: a few milliseconds in which Python stands still
_BYTES_SUFFIX = "_bytes"
_FLOATS = {types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE}
_INTEGERS = {
    *(types_pb2.DT_INT8, types_pb2.DT_INT16, types_pb2.DT_INT32, types_pb2.DT_INT64),
    *(types_pb2.DT_UINT8, types_pb2.DT_UINT32, types_pb2.DT_UINT64),
}
_WRITABLE = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")


def read_request(
    body: bytes,
    signatures: Mapping[str, meta_graph_pb2.SignatureDef],
    limits: Limits = Limits(),  # noqa: B008 - it cannot change
) -> tuple[str, dict[str, np.ndarray], bool]:
    """Reads a predict request.

    Args:
        body: The request's body.
        signatures: Inputs of the model, by signature name.
        limits: Bounds of the request; they are checked before arrays are made.

    Returns:
        Signature name, arrays by input name, and whether the request is in row format.

    Raises:
        StatusError: INVALID_ARGUMENT, or UNIMPLEMENTED for a type that JSON cannot carry.
    """
    limits.check_json(body)
    request = _parse(body)
    name = request.get("signature_name", "")
    if not isinstance(name, str):
        raise _format(
            request, "not formatted correctly. 'signature_name' key must be a string value."
        )
    name = name or DEFAULT_SIGNATURE
    if name not in signatures:
        raise invalid(f'Serving signature name: "{name}" not found in signature def')
    inputs = signatures[name].inputs
    if not inputs and not _is_object(request.get("inputs")):  # as of __saved_model_init_op
        raise invalid(f'The signature "{name}" takes no inputs; send {{"inputs": {{}}}}.')
    if "instances" in request and "inputs" in request:
        raise _format(
            request,
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ",
        )
    if "instances" in request:
        instances = request["instances"]
        if not isinstance(instances, list):
            raise _format(request, "Expecting 'instances' to be an list/array")
        if not instances:
            raise _format(request, "No values in 'instances' array")
        limits.check_instances(min(inputs), len(instances))
        return name, _rows(instances, inputs), True
    if "inputs" in request:
        given = request["inputs"]
        for key in inputs:
            column = given.get(key) if _is_object(given) else given
            if isinstance(column, list):
                limits.check_instances(key, len(column))
        return name, _columns(given, inputs), False
    raise invalid("Missing 'inputs' or 'instances' key")


def write_response(outputs: Mapping[str, np.ndarray], is_row: bool) -> bytes:
    """The answer in the format of the request; a single output has no name.

    Raises:
        StatusError: INVALID_ARGUMENT for a type that JSON cannot carry, or for row format where
            the outputs do not share a first dimension.
    """
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    if is_row:
        _check_rows(outputs)
    content: Any = {name: _plain(name, array) for name, array in outputs.items()}
    if len(content) == 1:
        [content] = content.values()
    elif is_row:
        rows = zip(*content.values(), strict=True)
        content = [dict(zip(content, row, strict=True)) for row in rows]
    return _dump({"predictions" if is_row else "outputs": content})


def _parse(body: bytes) -> dict[str, Any]:
    request = json_reader.parse(body)
    if not isinstance(request, dict):
        raise _format(request, "Is not object")
    return request


def _rows(instances: list[Any], inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if not isinstance(instances[0], dict) and len(inputs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    if not _is_object(instances[0]):
        name = min(inputs)
        for i, instance in enumerate(instances):
            if _is_object(instance):
                raise invalid(f"Expecting value/list but got object at item {i} of input list")
        return {name: _stack(instances, inputs[name], "")}
    for i, instance in enumerate(instances):
        if not _is_object(instance):
            raise invalid(f"Expecting object but got list at item {i} of input list")
        if isinstance(instance, json_reader.Repeated):
            raise invalid(f"tensor parsing error: {min(instance)}")  # upstream adds all values
        if set(instance) != set(inputs):
            raise invalid(
                f"Failed to process element: {i} of 'instances' list. JSON object: "
                f"{_shown(instance)} keys must be equal to: {','.join(sorted(inputs))}"
            )
    return {
        name: _stack([instance[name] for instance in instances], info, f" key: {name}")
        for name, info in sorted(inputs.items())
    }


def _stack(values: list[Any], info: meta_graph_pb2.TensorInfo, key: str) -> np.ndarray:
    """One array of all values, which have one shape."""
    array = _fast(values, info)
    if array is not None:
        return array
    arrays: list[np.ndarray] = []
    for i, value in enumerate(values):
        try:
            arrays.append(_array(value, info))
            if arrays[i].size != arrays[0].size:
                raise invalid(f"Expecting tensor size: {arrays[0].size} but got: {arrays[i].size}")
            if arrays[i].shape != arrays[0].shape:
                raise invalid(f"Expecting shape {_shape(arrays[0])} but got: {_shape(arrays[i])}")
        except StatusError as error:
            raise invalid(
                f"Failed to process element: {i}{key} of 'instances' list. "
                f"Error: {error.code.name}: {error.message}"
            ) from None
    return np.stack(arrays)


def _columns(given: Any, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    if not _is_object(given):
        if len(inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        [name] = inputs
        return {name: _array(given, inputs[name])}
    for name in sorted(inputs):
        if name not in given:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: _array(given[name], info) for name, info in sorted(inputs.items())}


def _array(value: Any, info: meta_graph_pb2.TensorInfo) -> np.ndarray:
    """``value`` as an array of the input's type, element by element where NumPy cannot tell."""
    array = _fast(value, info)
    if array is not None:
        return array
    shape: list[int] = []
    probe = value
    while isinstance(probe, list) and len(shape) <= MOST_DIMENSIONS:
        shape.append(len(probe))
        probe = probe[0] if probe else None
    if len(shape) > MOST_DIMENSIONS:
        raise invalid(
            f"Encountered list at unexpected level: {MOST_DIMENSIONS} expected < {MOST_DIMENSIONS}"
        )
    flat: list[Any] = []
    _flatten(value, 0, shape, info.dtype, flat)
    if info.dtype == types_pb2.DT_STRING:
        array = np.empty(len(flat), object)
        array[:] = flat
    else:
        with np.errstate(over="ignore"):  # a number above float32's largest becomes infinite
            array = np.array(flat, tf.as_dtype(info.dtype).as_numpy_dtype)
    return array.reshape(shape)


def _fast(value: Any, info: meta_graph_pb2.TensorInfo) -> np.ndarray | None:
    """What NumPy makes of nested lists of plain numbers; None if it needs a closer look."""
    if info.dtype not in _FLOATS | _INTEGERS or not isinstance(value, list):
        return None
    try:
        array = _in_parts(value)
    except (ValueError, OverflowError):
        return None
    # NumPy takes true among numbers for 1, so a look at the values' types is needed as well.
    kinds = "fi" if info.dtype in _FLOATS else "i"
    if not array.size or array.dtype.kind not in kinds or _holds_boolean(value):
        return None
    wanted = tf.as_dtype(info.dtype).as_numpy_dtype
    if array.dtype.kind == "i" and info.dtype in _INTEGERS:
        limits = np.iinfo(wanted)
        if array.min() < limits.min or array.max() > limits.max:
            return None
    with np.errstate(over="ignore"):
        return array.astype(wanted)


def _in_parts(value: list[Any]) -> np.ndarray:
    """``np.asarray``, with pauses in which other threads may run."""
    if len(value) <= _ROWS:
        return np.asarray(value)
    return np.concatenate([np.asarray(value[i : i + _ROWS]) for i in range(0, len(value), _ROWS)])


def _holds_boolean(value: list[Any]) -> bool:
    if value and isinstance(value[0], list):
        return any(_holds_boolean(item) for item in value)
    return bool in set(map(type, value))


def _flatten(value: Any, level: int, shape: list[int], dtype: int, into: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {_shown(value)} found at incorrect level: {level + 1} in the JSON "
                f"DOM. Expected at level: {len(shape)}"
            )
        into.append(_element(value, dtype))
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} "
            f"expected size: {shape[level]}"
        )
    for item in value:
        _flatten(item, level + 1, shape, dtype, into)


def _element(value: Any, dtype: int) -> Any:
    """One value of the input's type; no type stands for another, but an integer may be a float."""
    if dtype == types_pb2.DT_STRING:
        if isinstance(value, dict):
            return _decode(value)
        if isinstance(value, str):
            try:
                return value.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:
                raise invalid(f"JSON Value: {_shown(value)} is not valid Unicode") from None
    elif dtype == types_pb2.DT_BOOL:
        if isinstance(value, bool):
            return value
    elif dtype in _FLOATS:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            try:
                return float(value)
            except OverflowError:
                return float("inf") if value > 0 else float("-inf")
    elif dtype in _INTEGERS:
        limits = np.iinfo(tf.as_dtype(dtype).as_numpy_dtype)
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if is_integer and limits.min <= value <= limits.max:
            return value
    else:
        raise StatusError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"Conversion of JSON Value: {_shown(value)} to type: {dtype_name(dtype)}",
        )
    raise invalid(
        f"JSON Value: {_shown(value)} Type: {_kind(value)} "
        f"is not of expected type: {dtype_name(dtype)}"
    )


def _decode(value: dict[str, Any]) -> bytes:
    if _is_object(value):
        raise _format(value, "not formatted correctly for base64 data")
    return json_reader.unescape(value["b64"])


def _check_rows(outputs: Mapping[str, np.ndarray]) -> None:
    expected = None
    for name, array in outputs.items():
        if not array.ndim:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if expected not in (None, len(array)):
            raise invalid(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} "
                f"expecting: {expected}"
            )
        expected = len(array)


def _plain(name: str, array: np.ndarray) -> Any:
    """What orjson takes: the array itself, or nested lists of texts or of b64 objects."""
    if array.dtype.kind in "OSU":
        one = _encode if name.endswith(_BYTES_SUFFIX) else _text
        return np.vectorize(one, otypes=[object])(array).tolist()
    if array.dtype.name not in (*_WRITABLE, "bool"):
        kind = dtype_name(tf.as_dtype(array.dtype).as_datatype_enum)
        raise invalid(f"Failed to write JSON value for tensor type: {kind}")
    return np.ascontiguousarray(array) if array.ndim else array[()]


def _encode(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode()}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _dump(document: dict[str, Any]) -> bytes:
    [content] = document.values()
    found = content if isinstance(content, list) else [content]
    parts = [part for item in found for part in (item.values() if type(item) is dict else [item])]
    if all(_is_finite(part) for part in parts):
        if isinstance(content, np.ndarray) and content.ndim > 1 and len(content) > _ROWS:
            [key] = document
            rows = [content[i : i + _ROWS] for i in range(0, len(content), _ROWS)]
            texts = [orjson.dumps(part, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] for part in rows]
            return b'{"%s":[%s]}' % (key.encode(), b",".join(texts))
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(document, default=_shortest).encode()


def _is_finite(value: Any) -> bool:
    is_float = isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind == "f"
    return not is_float or bool(np.isfinite(value).all())


def _shortest(value: Any) -> Any:
    """Nested lists of Python's floats that print as short as the float32 does."""
    array = np.asarray(value)
    if array.dtype.kind != "f":
        return array.tolist()
    flat = np.array([float(str(item)) for item in array.ravel()])
    return flat.reshape(array.shape).tolist()


def _is_object(value: Any) -> bool:
    """Whether it is an object that is not the base64 form of a string."""
    is_b64 = isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str)
    return isinstance(value, dict) and not is_b64


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    kinds = {str: "String", dict: "Object", list: "Array", type(None): "Null"}
    return kinds.get(type(value), "Number")


def _shown(value: Any) -> str:
    """The beginning of a value, as JSON; a large one is not written out whole."""
    text = ""
    with contextlib.suppress(RecursionError):  # nested deeply; what was written so far is shown
        for part in json.JSONEncoder().iterencode(value):
            text += part
            if len(text) >= _SHOWN_CHARACTERS:
                break
    return text[:_SHOWN_CHARACTERS]


def _shape(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def _format(value: Any, text: str) -> StatusError:
    return invalid(f"JSON Value: {_shown(value)} {text}")
