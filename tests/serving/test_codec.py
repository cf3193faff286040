"""JSON to arrays and back: properties over all types and shapes, and a fuzz run."""

import json

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.model_server import codec
from serving.model_server.errors import StatusError

TYPES = {
    "float32": types_pb2.DT_FLOAT,
    "float64": types_pb2.DT_DOUBLE,
    "int8": types_pb2.DT_INT8,
    "int16": types_pb2.DT_INT16,
    "int32": types_pb2.DT_INT32,
    "int64": types_pb2.DT_INT64,
    "uint8": types_pb2.DT_UINT8,
    "uint32": types_pb2.DT_UINT32,
    "uint64": types_pb2.DT_UINT64,
    "bool": types_pb2.DT_BOOL,
}


def signatures(**inputs: int) -> dict[str, meta_graph_pb2.SignatureDef]:
    """One signature, serving_default, with inputs of these types."""
    signature = meta_graph_pb2.SignatureDef()
    for name, dtype in inputs.items():
        signature.inputs[name].dtype = dtype
    return {"serving_default": signature}


@st.composite
def arrays(draw, least_rank: int = 0):
    """Arrays of every type that travels, NaN and infinity included."""
    dtype = draw(st.sampled_from(sorted(TYPES)))
    shape = draw(hnp.array_shapes(min_dims=least_rank, max_dims=4, min_side=1, max_side=5))
    return draw(hnp.arrays(dtype, shape))


@settings(max_examples=200, deadline=None)
@given(arrays())
def test_what_is_written_is_read_again_in_column_format(array):
    document = json.loads(codec.write_response({"y": array}, is_row=False))
    body = json.dumps({"inputs": {"y": document["outputs"]}}).encode()
    name, found, is_row = codec.read_request(body, signatures(y=TYPES[array.dtype.name]))
    assert (name, is_row) == ("serving_default", False)
    assert found["y"].dtype == array.dtype and found["y"].shape == array.shape
    np.testing.assert_array_equal(found["y"], array)


@settings(max_examples=200, deadline=None)
@given(arrays(least_rank=1))
def test_what_is_written_is_read_again_in_row_format(array):
    document = json.loads(codec.write_response({"y": array}, is_row=True))
    body = json.dumps({"instances": document["predictions"]}).encode()
    _, found, is_row = codec.read_request(body, signatures(y=TYPES[array.dtype.name]))
    assert is_row and found["y"].dtype == array.dtype
    np.testing.assert_array_equal(found["y"], array)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-(2**31), 2**31 - 1), st.binary(max_size=20)), min_size=1))
def test_rows_of_several_tensors(pairs):
    numbers = np.array([number for number, _ in pairs], "int32")
    files = np.empty(len(pairs), object)
    files[:] = [data for _, data in pairs]
    answer = codec.write_response({"n": numbers, "f_bytes": files}, is_row=True)
    body = json.dumps({"instances": json.loads(answer)["predictions"]}).encode()
    kinds = signatures(n=types_pb2.DT_INT32, f_bytes=types_pb2.DT_STRING)
    _, found, _ = codec.read_request(body, kinds)
    np.testing.assert_array_equal(found["n"], numbers)
    assert found["f_bytes"].tolist() == files.tolist()


@settings(max_examples=300, deadline=None)
@given(st.floats(width=32))
def test_floats_are_written_short_and_exact(value):
    text = codec.write_response({"y": np.float32(value)[()].reshape(())}, is_row=False).decode()
    number = text.partition(":")[2].strip().rstrip("}")
    assert np.array_equal(np.float32(float(number)), np.float32(value), equal_nan=True)
    digits = number.lstrip("-").partition("e")[0].replace(".", "").strip("0")
    assert len(digits) <= 9 or not np.isfinite(value)  # so many tell any float32 from the others


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just({"b64": "eA=="}),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["x", "y", "b64", "instances", "inputs"]), inner, max_size=3
        )
    ),
    max_leaves=20,
)


@settings(max_examples=1000, deadline=None)
@given(
    st.sampled_from(["instances", "inputs", "signature_name"]),
    JSON,
    st.sampled_from([*TYPES.values(), types_pb2.DT_STRING, types_pb2.DT_HALF]),
    st.booleans(),
)
def test_any_document_is_read_or_refused(key, value, dtype, two):
    kinds = signatures(x=dtype, y=dtype) if two else signatures(x=dtype)
    for document in ({key: value}, value):
        try:
            body = json.dumps(document).encode()
            _, found, _ = codec.read_request(body, kinds)
        except StatusError as error:
            assert error.code in (
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.UNIMPLEMENTED,
            )
            assert 0 < len(error.message) < 2000
        else:
            assert set(found) <= {"x", "y"} and found


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body):
    for data in (body, b'{"instances": [' + body + b"]}"):
        try:
            codec.read_request(data, signatures(x=types_pb2.DT_FLOAT))
        except StatusError as error:
            assert error.code == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("depth", [70, 900, 1_100, 200_000])
def test_deep_nesting_is_refused(depth):
    body = b'{"instances": ' + b"[" * depth + b"1" + b"]" * depth + b"}"
    for dtype in (types_pb2.DT_FLOAT, types_pb2.DT_STRING):
        with pytest.raises(StatusError) as caught:
            codec.read_request(body, signatures(x=dtype))
        assert caught.value.code == grpc.StatusCode.INVALID_ARGUMENT
    objects = b'{"inputs": ' + b'{"x":' * depth + b"1" + b"}" * depth + b"}"
    with pytest.raises(StatusError):
        codec.read_request(objects, signatures(x=types_pb2.DT_FLOAT))


@pytest.mark.parametrize("number", ["1" * 5000, "-" + "9" * 400, "1e400", "9" * 25])
def test_numbers_too_large_for_the_type_are_refused(number):
    body = f'{{"inputs": [{number}]}}'.encode()
    for dtype in (types_pb2.DT_INT32, types_pb2.DT_UINT64):
        with pytest.raises(StatusError):
            codec.read_request(body, signatures(x=dtype))


@pytest.mark.parametrize(
    ("dtype", "right", "wrong"),
    [
        (types_pb2.DT_UINT8, [0, 255], ["-1", "256", "true", "1.5"]),
        (types_pb2.DT_INT32, [-(2**31), 2**31 - 1], ["2147483648", "-2147483649", "false", "1.0"]),
        (types_pb2.DT_FLOAT, [0.25, 7], ["true", '"1"', "null"]),
    ],
)
def test_a_type_takes_its_own_values_to_the_last_and_no_others(dtype, right, wrong):
    kinds = signatures(x=dtype)
    _, found, _ = codec.read_request(json.dumps({"inputs": right}).encode(), kinds)
    assert found["x"].tolist() == right
    for value in wrong:
        for values in (value, f"{right[0]}, {value}", f"{value}, {right[0]}"):
            with pytest.raises(StatusError):
                codec.read_request(f'{{"inputs": [{values}]}}'.encode(), kinds)


def test_a_large_value_is_shown_in_part():
    body = json.dumps({"instances": ["x" * 100_000]}).encode()
    with pytest.raises(StatusError) as caught:
        codec.read_request(body, signatures(x=types_pb2.DT_FLOAT))
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("request_", [{"instances": [1]}, {"inputs": [1]}, {"inputs": 1}])
def test_a_signature_without_inputs_is_refused_values(request_):
    """TensorFlow's own __saved_model_init_op is one."""
    with pytest.raises(StatusError) as caught:
        codec.read_request(json.dumps(request_).encode(), signatures())
    assert caught.value.message == (
        'The signature "serving_default" takes no inputs; send {"inputs": {}}.'
    )
    assert codec.read_request(b'{"inputs": {}}', signatures()) == ("serving_default", {}, False)
