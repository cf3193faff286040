"""Requests of a few bytes that ask for gigabytes or for hours: refused, at next to no memory."""

import base64
import contextlib
import gzip
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2

from serving.model_server import wire
from serving.model_server.errors import StatusError, plain
from serving.model_server.grpc_client import GrpcClient, predict_request
from serving.model_server.limits import MIB, MOST_DIMENSIONS, Limits
from tests.serving.conftest import start_model_server
from tests.serving.test_model_server import INVALID, failure
from tests.serving.toy_model import save_toy
from trainer_modules.common.export import decode_png

TIMEOUT = 120.0
MOST_GROWTH_MIB = 200
PREDICT = "/tensorflow.serving.PredictionService/Predict"


class Server:
    """The model server with its own bounds, as a process."""

    def __init__(self, base: Path):
        self.process = start_model_server("--model_name=toy", f"--model_base_path={base}")
        line = self.process.stdout.readline()
        self.grpc, self.rest = line.partition(" at ")[2].strip().split(", REST at ")

    def peak_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024

    def post(self, content) -> httpx.Response:
        url = f"http://{self.rest}/v1/models/toy:predict"
        body = {"json": content} if isinstance(content, dict) else {"content": content}
        return httpx.post(url, timeout=TIMEOUT, **body)

    def call(self, body: bytes, **options) -> tuple[grpc.StatusCode, str]:
        """Code and text of a request that is sent as these bytes."""
        with grpc.insecure_channel(
            self.grpc, options=[("grpc.max_send_message_length", -1)]
        ) as channel:
            return failure(channel.unary_unary(PREDICT), body, timeout=TIMEOUT, **options)

    @contextlib.contextmanager
    def stays_small(self) -> Iterator[None]:
        """Whatever is asked within takes little memory, and the server answers afterwards."""
        before = self.peak_mib()
        yield
        assert self.peak_mib() - before < MOST_GROWTH_MIB
        inputs = {"seed": 1, "count": 2, "steps": 3}
        response = self.post({"signature_name": "generate", "inputs": inputs})
        assert response.status_code == 200, response.text


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("greedy")
    save_toy(base / "1", extra=free_signatures)
    found = Server(base)
    with found.stays_small():
        pass  # the first call takes memory of its own
    yield found
    found.process.terminate()
    assert found.process.wait(30) == 0


def free_signatures() -> dict:
    """Inputs whose shapes leave more than the number of instances open, and the trainers' PNGs."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")])
    def free(x):
        return {"y": tf.reduce_sum(x, 1)}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.int64, name="x")])
    def any_rank(x):
        return {"y": tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def read_png(image_bytes):
        return {"image": decode_png(image_bytes)}

    return {"free": free, "any_rank": any_rank, "read_png": read_png}


def tensor(dtype: int, shape: list[int], **values) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=dtype, **values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


FLOAT, INT64, STRING = types_pb2.DT_FLOAT, types_pb2.DT_INT64, types_pb2.DT_STRING
ONE = {"float_val": [1.0]}
TENSORS = {
    "a thousand million images": (
        *("serving_default", "image", tensor(FLOAT, [10**9, 28, 28, 1], **ONE)),
        'The input "image" holds 1000000000 instances; '
        "send at most 10000 at a time (--max_instances).",
    ),
    "a long row": (
        *("free", "x", tensor(FLOAT, [1, 2**28], **ONE)),
        'The input "x" of shape [1, 268435456] would take 1024 MiB of memory; '
        "at most 64 MiB are allowed (--max_request_mib).",
    ),
    "more elements than an integer counts": (
        *("any_rank", "x", tensor(INT64, [1] + [2**62] * 4, int64_val=[1])),
        "--max_request_mib",
    ),
    "many dimensions": (
        *("any_rank", "x", tensor(INT64, [1] * 33, int64_val=[1])),
        'The input "x" has 33 dimensions; at most 32 are allowed.',
    ),
    "a negative size": (
        *("free", "x", tensor(FLOAT, [-1, 4], **ONE)),
        "tensor parsing error: x",
    ),
    "an unknown type": (
        *("any_rank", "x", tensor_pb2.TensorProto(dtype=999)),
        "tensor parsing error: x",
    ),
    "content that is too short": (
        *("free", "x", tensor(FLOAT, [2, 4], tensor_content=b"1234")),
        "tensor parsing error: x",
    ),
    "one text ten thousand times": (
        *("invert_png", "image_bytes", tensor(STRING, [10_000], string_val=[b"x" * MIB])),
        'The input "image_bytes" of shape [10000] would take 10000 MiB',
    ),
    "many files": (
        *("invert_png", "image_bytes", tensor(STRING, [10_001], string_val=[b"x"])),
        'The input "image_bytes" holds 10001 instances; send at most 10000',
    ),
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_that_says_it_is_large_is_refused(server, name):
    signature, key, proto, text = TENSORS[name]
    request = predict_request("toy", signature, {})
    request.inputs[key].CopyFrom(proto)
    with server.stays_small(), GrpcClient(server.grpc, "toy") as client:
        code, said = failure(client.predictions.Predict, request, timeout=TIMEOUT)
    assert code == INVALID and text in said and "\n" not in said


def test_the_last_value_fills_a_tensor_up_within_the_bounds(server):
    request = predict_request("toy", "free", {})
    request.inputs["x"].CopyFrom(tensor(FLOAT, [2, 3], float_val=[1.0, 2.0]))
    with GrpcClient(server.grpc, "toy") as client:
        answer = client.predictions.Predict(request, timeout=TIMEOUT)
    assert list(tf.make_ndarray(answer.outputs["y"])) == [5.0, 6.0]


@pytest.mark.parametrize("value", [b"{}", b"[]", b"0", b"[[[[]]]]"])
def test_a_small_body_that_unpacks_to_many_values_is_refused(server, value):
    count = 63 * MIB // (len(value) + 1)
    body = gzip.compress(b'{"instances": [' + (value + b",") * count + value + b"]}", 1)
    assert len(body) < MIB
    url = f"http://{server.rest}/v1/models/toy:predict"
    with server.stays_small():
        headers = {"Content-Encoding": "gzip"}
        response = httpx.post(url, content=body, headers=headers, timeout=TIMEOUT)
    assert response.status_code == 400
    assert "The lists and objects of the body would take" in response.json()["error"]


def large_png(side: int) -> bytes:
    """A black PNG, right in all its parts."""
    packer = zlib.compressobj(1)
    pixels = b"".join([packer.compress(bytes(side + 1)) for _ in range(side)]) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def test_a_png_of_many_pixels_is_refused_before_it_is_decoded(server):
    file = large_png(20_000)
    assert len(file) < 2 * MIB
    content = {"b64": base64.b64encode(file).decode()}
    said = "A PNG must be 28 pixels high and 28 wide."
    inputs = {"image_bytes": np.array([file], object)}
    with server.stays_small(), GrpcClient(server.grpc, "toy") as client:
        response = server.post({"signature_name": "read_png", "instances": [content]})
        assert failure(client.predict, "read_png", inputs, TIMEOUT) == (INVALID, said)
    assert (response.status_code, response.json()) == (400, {"error": said})


def nested(*path: int, body: bytes) -> bytes:
    """``body`` as the bytes of the fields of these numbers, the first one outermost."""
    for number in reversed(path):
        length, sizes = len(body), b""
        while length >= 0x80:
            sizes += bytes([length & 0x7F | 0x80])
            length >>= 7
        body = bytes([number << 3 | 2]) + sizes + bytes([length]) + body
    return body


MANY = 8 * MIB
WIRE = {  # an input is field 2, its value 2, and the shape of that 2
    "inputs": (b"\x12\0" * MANY, "more than 131072 fields"),
    "dimensions": (nested(2, 2, 2, body=b"\x12\0" * MANY), "more than 131072 fields"),
    "strings": (nested(2, 2, body=b"\x42\0" * MANY), "more than 131072 fields"),
    "variants": (nested(2, 2, body=b"\x7a\0" * MANY), "a resource or a variant"),
    "integers": (nested(2, 2, 10, body=b"\1" * 2 * MANY), "would take 128 MiB of memory"),
    "integers in eight fields": (
        nested(2, 2, body=nested(10, body=b"\1" * 7 * MIB) * 8),
        "would take 112 MiB of memory",
    ),
    "integers in eight tensors": (
        nested(2, 2, 10, body=b"\1" * 7 * MIB) * 8,
        "would take 112 MiB of memory",
    ),
    "junk": (b"junk", "is not a PredictRequest"),
    "a length beyond the end": (b"\x12\x7f", "is not a PredictRequest"),
    "groups": (b"\x13" * 1000, "is not a PredictRequest"),
}


@pytest.mark.parametrize("name", WIRE)
def test_bytes_that_become_large_objects_are_refused(server, name):
    body, text = WIRE[name]
    with server.stays_small():
        code, said = server.call(body)
    assert code == INVALID and text in said


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_a_request_above_the_limit_is_not_read(server, compression):
    with server.stays_small():
        code, said = server.call(bytes(256 * MIB), compression=compression)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in said


def test_other_calls_take_small_requests_only(server):
    with grpc.insecure_channel(server.grpc) as channel, server.stays_small():
        for call in ("PredictionService/GetModelMetadata", "ModelService/GetModelStatus"):
            ask = channel.unary_unary(f"/tensorflow.serving.{call}")
            code, said = failure(ask, b"\x12\0" * MANY, timeout=TIMEOUT)
            assert code == INVALID and "at most 1048576 are allowed" in said
        ask = channel.unary_unary("/tensorflow.serving.PredictionService/Classify")
        assert failure(ask, b"\x12\0" * MANY, timeout=TIMEOUT)[0].name == "UNIMPLEMENTED"


BODIES = {
    "lists": (b'{"inputs":[' + b"[]," * 10 * MIB + b"[]]}", "at most 1024 MiB are allowed"),
    "objects": (b'{"instances":[' + b'{"":0},' * 5 * MIB + b"{}]}", "at most 1024 MiB are allowed"),
    "rows": (b'{"instances":[' + b"0," * 10_000 + b"0]}", "holds 10001 instances"),
    "columns": (b'{"inputs":[' + b"0," * 10_000 + b"0]}", "holds 10001 instances"),
    "named columns": (b'{"inputs":{"image":[' + b"0," * 10_000 + b"0]}}", "holds 10001 instances"),
}


@pytest.mark.parametrize("name", BODIES)
def test_json_that_becomes_large_is_refused(server, name):
    body, text = BODIES[name]
    with server.stays_small():
        response = server.post(body)
    assert response.status_code == 400 and text in response.json()["error"]


@pytest.mark.parametrize(
    ("name", "value", "most"),
    [
        *[("count", value, 1000) for value in (-1, 0, 1001, 100_000, 2**31 - 1)],
        *[("steps", value, 100) for value in (-1, 0, 101, 2**31 - 1)],
    ],
)
def test_numbers_that_ask_for_too_much_are_refused(server, name, value, most):
    inputs = {"seed": 1, "count": 1, "steps": 1, name: value}
    said = f'The input "{name}" is {value}; it must be between 1 and {most} (--max_{name}).'
    arrays = {key: np.int32(number) for key, number in inputs.items()}
    with server.stays_small(), GrpcClient(server.grpc, "toy") as client:
        response = server.post({"signature_name": "generate", "inputs": inputs})
        assert failure(client.predict, "generate", arrays, TIMEOUT) == (INVALID, said)
    assert (response.status_code, response.json()) == (400, {"error": said})


@given(
    shape=st.lists(st.integers(-2, 9) | st.integers(-(2**63), 2**63 - 1), max_size=4),
    dtype=st.sampled_from(
        [FLOAT, types_pb2.DT_DOUBLE, types_pb2.DT_INT32, INT64, types_pb2.DT_BOOL, STRING]
    ),
    values=st.integers(0, 10),
    content=st.none() | st.binary(max_size=40),
)
@example(shape=[0, 444_758_427, 2_592_242_069], dtype=FLOAT, values=0, content=None)
@example(shape=[0, 2**59 - 1], dtype=STRING, values=0, content=None)
def test_tensors_that_pass_are_small_and_can_be_made(shape, dtype, values, content):
    field = {FLOAT: "float_val", types_pb2.DT_DOUBLE: "double_val", STRING: "string_val"}.get(
        dtype, {INT64: "int64_val", types_pb2.DT_BOOL: "bool_val"}.get(dtype, "int_val")
    )
    value = {STRING: b"text", types_pb2.DT_BOOL: True}.get(dtype, 1)
    proto = tensor(dtype, shape, **{field: [value] * values})
    if content is not None:
        proto.tensor_content = content
    limits = Limits(max_instances=50, max_bytes=2000)
    try:
        limits.check_tensors({"x": proto})
    except StatusError as error:
        assert '"x"' in error.message or error.message == "tensor parsing error: x"
        return
    array = tf.make_ndarray(proto)
    assert list(array.shape) == shape and array.nbytes <= 2000


@given(
    shape=st.lists(st.integers(0, 9), max_size=MOST_DIMENSIONS // 8),
    names=st.lists(st.text(max_size=9), max_size=5),
    strings=st.lists(st.binary(max_size=300), max_size=9),
)
def test_every_request_that_is_small_is_parsed(shape, names, strings):
    request = predict_pb2.PredictRequest(output_filter=names)
    request.model_spec.name = "toy"
    request.model_spec.version.value = 2**62
    for name in names:
        request.inputs[name].CopyFrom(tensor(STRING, shape, string_val=strings))
        request.inputs[f"{name}-"].CopyFrom(tf.make_tensor_proto(np.arange(9), "int64", [9]))
        request.inputs[f"{name}+"].CopyFrom(tensor(INT64, shape, int64_val=[-1, 2**40]))
    assert wire.parse_predict(request.SerializeToString(), Limits()) == request


@given(st.binary(max_size=60))
def test_other_bytes_are_a_request_or_are_refused(body):
    with contextlib.suppress(StatusError):
        wire.parse_predict(body, Limits())


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (
            "Graph execution error:\n\nDetected at node a/Assert defined at (most recent call "
            "last):\n<stack traces unavailable>\nassertion failed: [The input count is 0.] [0]"
            "\n\t [[{{node a/Assert}}]] [Op:__inference_signature_wrapper_1]",
            "The input count is 0.",
        ),
        (
            "Graph execution error:\n\nDetected at node b defined at (most recent call last):\n"
            "<stack traces unavailable>\nDetected at node c defined at (most recent call last):\n"
            "<stack traces unavailable>\n2 root error(s) found.\n  (0) INVALID_ARGUMENT:  "
            "Incompatible shapes: [3] vs. [2,28]\n\t [[{{node b}}]]\n\t [[c/_3]]\n  (1) "
            "INVALID_ARGUMENT:  Incompatible shapes\n0 successful operations.\n [Op:__f_2]",
            "Incompatible shapes: [3] vs. [2,28]",
        ),
        ("Dimension -1 must be >= 0 [Op:Fill]", "Dimension -1 must be >= 0"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_only_the_sentence_of_tensorflow_is_told(message, sentence):
    assert plain(message) == sentence
