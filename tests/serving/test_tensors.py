"""Arrays as TensorProto and back, by TensorFlow's own reader."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from serving.model_server.tensors import to_proto

FIELDS = {
    **{"float32": "float_val", "float64": "double_val", "bool": "bool_val"},
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), "int_val"),
    **{"int64": "int64_val", "uint32": "uint32_val", "uint64": "uint64_val"},
    **{"float16": "half_val", "complex64": "scomplex_val", "complex128": "dcomplex_val"},
}


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from(sorted(FIELDS)), st.booleans())
def test_tensorflow_reads_what_was_written(data, dtype, as_content):
    array = data.draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0)))
    proto = to_proto(array, as_content)
    found = tf.make_ndarray(proto)
    assert found.dtype == array.dtype and found.shape == array.shape
    assert found.tobytes() == np.ascontiguousarray(array).tobytes()
    if not as_content:
        assert not proto.tensor_content
        per_element = 2 if dtype.startswith("complex") else 1
        assert len(getattr(proto, FIELDS[dtype])) == per_element * array.size
    elif array.size:
        assert proto.tensor_content and not getattr(proto, FIELDS[dtype])


@pytest.mark.parametrize("as_content", [False, True])
def test_strings_and_half_precision_of_the_other_kind(as_content):
    strings = np.array([[b"a", b""], [b"\xff", b"long" * 100]], object)
    proto = to_proto(strings, as_content)
    assert list(proto.string_val) == strings.ravel().tolist()
    assert tf.make_ndarray(proto).tolist() == strings.tolist()
    half = tf.constant([1.5, -2.0], tf.bfloat16).numpy()
    assert tf.make_ndarray(to_proto(half, as_content)).tolist() == [1.5, -2.0]


def test_a_view_of_an_array_is_written_in_order():
    array = np.arange(12, dtype="float32").reshape(3, 4).T[::2]
    assert list(to_proto(array).float_val) == array.ravel().tolist()
    assert tf.make_ndarray(to_proto(array, as_content=True)).tolist() == array.tolist()
