"""Our JSON against RapidJSON, which TensorFlow Serving parses with."""

import base64
import json
import math

import pytest
import rapidjson
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import types_pb2

from serving.model_server import codec, json_reader
from serving.model_server.errors import StatusError
from tests.serving.test_codec import signatures

NUMBERS = st.sampled_from(
    ["NaN", "-NaN", "Inf", "-Inf", "Infinity", "-Infinity", "Infinit", "-", "+1", ".5", "1."]
    + ["0", "-0", "01", "1e400", "-1e400", "1e-400", "18446744073709551616", "1" * 400, "1E5"]
    + ["9223372036854775807", "-9223372036854775809", "0x1", "1_0", "true", "null", "nul"]
)
STRINGS = st.sampled_from(
    [r'"\ud83d\ude00"', r'"\ud800"', r'"\udc00"', r'"\ud83dx"', r'"\\ud800"', '"\x01"', '"\t"']
    + [r'"\/"', r'"\x"', r'"\u12"', '"NaN"', '"-Inf"', r'"\"Inf"', '"é"', "'x'", '"a:b"', '"']
)
TEXTS = st.recursive(
    NUMBERS | STRINGS | st.integers().map(str) | st.floats(width=32).map(json.dumps),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: f"[ {' ,'.join(items)}\n]")
        | st.lists(
            st.tuples(st.sampled_from(['"x"', '"y"', '"b:64"', "x"]), inner), max_size=3
        ).map(lambda pairs: "{" + ", ".join(f"{key} :{value}" for key, value in pairs) + "}")
    ),
    max_leaves=12,
)


def same(ours, theirs) -> bool:
    """Equal, NaN to NaN, and to 15 digits, as RapidJSON reads numbers without its slow path.

    The values of a key given twice are not compared, as the peer takes the last.
    """
    if isinstance(ours, json_reader.Repeated):
        return set(ours) == set(theirs)
    if isinstance(ours, dict):
        return set(ours) == set(theirs) and all(same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, float) and isinstance(theirs, float):
        is_nan = math.isnan(ours) and math.isnan(theirs)
        return is_nan or math.isclose(ours, theirs, rel_tol=1e-15)
    return type(ours) is type(theirs) and ours == theirs


@settings(max_examples=2000, deadline=None)
@given(TEXTS)
@example('{"x": "-Inf", "x": [NaN]}')
def test_any_document_means_what_rapidjson_says(text):
    mode = rapidjson.NM_NAN | rapidjson.NM_NATIVE
    document = '{"instances": ' + text + "}"
    try:
        theirs = rapidjson.loads(document, number_mode=mode)
    except rapidjson.JSONDecodeError:
        # Upstream stops where the document ends, the peer does not; braces end both here.
        with pytest.raises(StatusError, match="JSON Parse error: "):
            json_reader.parse(document.encode())
        return
    assert same(json_reader.parse(document.encode()), theirs)


@pytest.mark.parametrize("end", [b"", b"X", b"}", b"\x00", b'{"inputs": 2}', b"\xff"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b" \t\r\n", b"\xef\xbb\xbf\n"])
def test_a_byte_order_mark_and_what_follows_the_document_are_skipped(start, end):
    assert json_reader.parse(start + b'{"inputs": 1}' + end) == {"inputs": 1}


def test_the_first_of_a_keys_values_counts_and_a_repeated_instance_key_is_an_error():
    kinds = signatures(x=types_pb2.DT_FLOAT)
    _, found, _ = codec.read_request(b'{"inputs": {"x": 1, "x": 2}, "inputs": 3}', kinds)
    assert found["x"] == 1
    name, _, _ = codec.read_request(
        b'{"signature_name": "serving_default", "signature_name": "no", "inputs": 3}', kinds
    )
    assert name == "serving_default"
    with pytest.raises(StatusError, match="tensor parsing error: x"):
        codec.read_request(b'{"instances": [{"x": 1}, {"x": 1, "x": 2}]}', kinds)


def test_strings_keep_bytes_that_are_not_unicode():
    kinds = signatures(x=types_pb2.DT_STRING)
    _, found, _ = codec.read_request(b'{"inputs": ["\xff\xc3\xa9", "\\u00e9"]}', kinds)
    assert found["x"].tolist() == [b"\xff\xc3\xa9", "é".encode()]


def abseil(text: str) -> bytes | None:
    """What absl::Base64Unescape makes of it, from its description in escaping.h, bit by bit."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    letters = [c for c in text if c not in " \t\n\v\f\r"]
    data = []
    while letters and letters[0] in alphabet:
        data.append(alphabet.index(letters.pop(0)))
    needed = {0: 0, 2: 2, 3: 1}.get(len(data) % 4)
    if needed is None or any(c not in "=." for c in letters) or len(letters) not in (0, needed):
        return None
    bits = "".join(f"{value:06b}" for value in data)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits) - 7, 8))


@settings(max_examples=1000, deadline=None)
@given(st.text("AQZz09+/=. \n\r\t-_é", max_size=12))
@example(base64.encodebytes(bytes(100)).decode())
@example(base64.encodebytes(bytes(100)).decode().replace("\n", "\r\n") + " ")
def test_base64_is_read_as_abseil_reads_it(text):
    kinds = signatures(x=types_pb2.DT_STRING)
    body = json.dumps({"inputs": {"b64": text}}).encode()
    expected = abseil(text)
    if expected is None:
        with pytest.raises(StatusError, match="Unable to base64 decode"):
            codec.read_request(body, kinds)
    else:
        assert codec.read_request(body, kinds)[1]["x"].item() == expected
