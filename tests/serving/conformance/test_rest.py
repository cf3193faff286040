"""REST: paths, both formats, every type, errors. The cases of upstream's handler and JSON tests."""

import base64
import gzip
import json
import math

import httpx
import pytest

from tests.serving.conformance import model
from tests.serving.conformance.conftest import Server, error_of

BASE = f"/v1/models/{model.NAME}"


def predictions(server: Server, content, where: str = ""):
    response = server.predict(content, where)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return json.loads(response.content)


# Paths


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/foo"),
        ("POST", "/v1/foo"),
        ("GET", "/v1/models/debug/model_name"),
        ("POST", "/v1/models"),
        ("GET", "/v1/models/foo:predict"),
        ("GET", "/v1/models/foo/version/50:predict"),
        ("POST", "/v1/models/foo/version/50:regress"),
        ("POST", "/v1/models/foo/versions/HELLO:regress"),
        ("POST", "/v1/models/foo/metadata"),
        ("POST", "/v1/models/foo/label/some_label:regress"),
        ("POST", "/v1/models/foo/versions/50/labels/some_label:regress"),
        ("POST", f"{BASE}:explain"),
        ("POST", f"{BASE}:predict/"),
    ],
)
def test_malformed_requests(server, method, path):
    response = server.get(path) if method == "GET" else server.post(path, "{}")
    assert error_of(response, 400) == f"Malformed request: {method} {path}"


def test_no_list_of_models(server):
    assert error_of(server.get("/v1/models"), 400) == "Missing model name in request."


def test_version_that_is_no_64_bit_number(server):
    response = server.post(f"/v1/models/foo/versions/{2**64 - 1}:regress", "{}")
    assert "Failed to convert version" in error_of(response, 400)


@pytest.mark.parametrize("path", ["/", "/statuspage", "/index", "/v2/models/half_plus"])
def test_other_paths_are_not_found_and_no_json(server, path):
    response = server.get(path)
    assert response.status_code == 404
    assert "json" not in response.headers["content-type"]


def test_paths_are_taken_in_any_case_and_names_are_decoded(server):
    assert predictions(server, {"instances": [2.0]}) == {"predictions": [4.0]}
    response = server.post(f"/V1/Models/{model.NAME}:predict", '{"instances": [2.0]}')
    assert response.json() == {"predictions": [4.0]}
    encoded = "%68" + model.NAME[1:]
    assert server.get(f"/v1/models/{encoded}").status_code == 200


@pytest.mark.parametrize("name", ["..%2F..%2Fetc", "%2e%2e", "half_plus%2F123", "%00"])
def test_names_lead_to_no_other_place(server, name):
    text = error_of(server.get(f"/v1/models/{name}"), 404)
    assert text.startswith("Could not find any versions of model ")
    response = server.post(f"/v1/models/{name}:predict", '{"instances": [1]}')
    assert error_of(response, 404).startswith("Servable not found for request: Latest(")
    response = server.post(f"{BASE}/labels/{name}:predict", '{"instances": [1]}')
    assert error_of(response, 400).startswith("Unrecognized servable version label: ")


# Which model


def test_models_and_versions_that_are_not_there(server):
    response = server.post("/v1/models/foo:predict", '{"instances": [1]}')
    assert error_of(response, 404) == "Servable not found for request: Latest(foo)"
    response = server.post("/v1/models/foo/versions/50:predict", '{"instances": [1]}')
    assert error_of(response, 404) == "Servable not found for request: Specific(foo, 50)"
    text = server.error({"instances": [1]}, "/versions/99", 404)
    assert text == f"Servable not found for request: Specific({model.NAME}, 99)"
    text = server.error({"instances": [1]}, "/labels/canary")
    assert text == "Unrecognized servable version label: canary"


def test_newest_version_answers_unless_one_is_asked_for(server):
    body = {"instances": [[1.0, 2.0], [3.0, 4.0]]}
    newest, stable = [[3.5, 4.0], [4.5, 5.0]], [[2.5, 3.0], [3.5, 4.0]]
    assert predictions(server, body) == {"predictions": newest}
    assert predictions(server, body, f"/versions/{model.STABLE}") == {"predictions": stable}
    assert predictions(server, body, f"/versions/{model.NEWEST}") == {"predictions": newest}
    assert predictions(server, body, f"/labels/{model.LABEL}") == {"predictions": stable}


# Status and metadata


def test_status(server):
    def expected(*versions):
        ok = {"error_code": "OK", "error_message": ""}
        return {
            "model_version_status": [
                {"version": str(v), "state": "AVAILABLE", "status": ok} for v in versions
            ]
        }

    assert server.get(BASE).json() == expected(model.NEWEST, model.STABLE)
    assert server.get(f"{BASE}/versions/{model.STABLE}").json() == expected(model.STABLE)
    # A label is not looked at: every version is told.
    assert server.get(f"{BASE}/labels/none").json() == expected(model.NEWEST, model.STABLE)
    assert error_of(server.get(f"{BASE}/versions/7"), 404) == (
        f"Could not find version 7 of model {model.NAME}"
    )
    assert error_of(server.get("/v1/models/foo"), 404) == (
        "Could not find any versions of model foo"
    )


def test_metadata(server):
    document = server.get(f"{BASE}/metadata").json()
    spec = {"name": model.NAME, "signature_name": "", "version": str(model.NEWEST)}
    assert document["model_spec"] == spec
    signatures = document["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "many", "copy"} <= set(signatures)
    many = signatures["many"]
    assert many["method_name"] == "tensorflow/serving/predict"
    assert set(many["inputs"]) == {"int_tensor", "float_tensor", "str_tensor", "bool_tensor"}
    shape = many["inputs"]["float_tensor"]["tensor_shape"]
    assert [d["size"] for d in shape["dim"]] == ["-1", "-1"] and shape["unknown_rank"] is False
    assert many["inputs"]["int_tensor"]["dtype"] == "DT_INT32"
    stable = server.get(f"{BASE}/labels/{model.LABEL}/metadata").json()
    assert stable["model_spec"]["version"] == str(model.STABLE)
    assert error_of(server.get("/v1/models/foo/metadata"), 404) == (
        "Servable not found for request: Latest(foo)"
    )


# Predict


def test_row_and_column_format(server):
    row = {"signature_name": "serving_default", "instances": [3.0, 4.0]}
    column = {"signature_name": "serving_default", "inputs": [3.0, 4.0]}
    assert predictions(server, row) == {"predictions": [4.5, 5.0]}
    assert predictions(server, column) == {"outputs": [4.5, 5.0]}
    assert predictions(server, {"inputs": {"x": [[1, 2.5]]}}) == {"outputs": [[3.5, 4.25]]}
    assert predictions(server, {"instances": [{"x": 1}, {"x": 3}]}) == {"predictions": [3.5, 4.5]}
    assert predictions(server, {"inputs": 1.0}) == {"outputs": 3.5}


def test_many_tensors_in_both_formats(server):
    rows = [
        {"int_tensor": 1, "float_tensor": [1.5], "str_tensor": "foo", "bool_tensor": True},
        {
            "int_tensor": -2,
            "float_tensor": [2],
            "str_tensor": {"b64": base64.b64encode(b"bar").decode()},
            "bool_tensor": False,
        },
    ]
    answered = predictions(server, {"signature_name": "many", "instances": rows})
    assert answered == {
        "predictions": [
            {"int": 2, "float": [3.0], "str": "FOO", "bool": False},
            {"int": -1, "float": [4.0], "str": "BAR", "bool": True},
        ]
    }
    columns = {name: [row[name] for row in rows] for name in rows[0]} | {"ignored": 1}
    answered = predictions(server, {"signature_name": "many", "inputs": columns})
    assert answered == {
        "outputs": {
            "int": [2, -1],
            "float": [[3.0], [4.0]],
            "str": ["FOO", "BAR"],
            "bool": [False, True],
        }
    }


def test_bytes_travel_as_base64_where_the_name_says_so(server):
    data = bytes(range(256))
    value = {"b64": base64.b64encode(data).decode()}
    answered = predictions(server, {"signature_name": "copy", "instances": [value, "x"]})
    assert answered == {"predictions": [value, {"b64": "eA=="}]}
    answered = predictions(server, {"signature_name": "copy", "inputs": {"in_bytes": [value]}})
    assert answered == {"outputs": [value]}


def test_scalars_have_columns_only(server):
    column = {"signature_name": "scalar", "inputs": {"number": 21}}
    assert predictions(server, column) == {"outputs": 42}
    largest = {"signature_name": "scalar", "inputs": {"number": 2**62 - 1}}
    assert predictions(server, largest) == {"outputs": 2**63 - 2}
    row = {"signature_name": "scalar", "instances": [{"number": 21}]}
    assert server.predict(row).status_code == 400


def test_numbers_beyond_float32(server):
    body = '{"instances": [1e39, -1e39, 1e-60, 0.1]}'
    answered = predictions(server, body)["predictions"]
    assert answered[:3] == [math.inf, -math.inf, 3.0] and answered[3] == pytest.approx(3.05)


def test_not_a_number_goes_in_and_out(server):
    response = server.predict('{"signature_name": "log", "instances": [0.0, -1.0, 1.0]}')
    assert b"-Infinity" in response.content and b"NaN" in response.content
    infinite, undefined, zero = json.loads(response.content)["predictions"]
    assert infinite == -math.inf and math.isnan(undefined) and zero == 0.0
    answered = predictions(server, '{"instances": [NaN, Infinity, -Infinity]}')["predictions"]
    assert math.isnan(answered[0]) and answered[1:] == [math.inf, -math.inf]


def test_floats_come_back_as_they_were(server):
    sent = [0.1, 1 / 3, 1e-7, 123456.789, 16777216.0]
    answered = predictions(server, {"signature_name": "positive", "instances": sent})
    assert answered["predictions"] == pytest.approx(sent, rel=6e-8)
    text = server.predict({"signature_name": "positive", "instances": [0.2, 3.0]}).text
    assert "0.2" in text and "0.20000000" not in text and "3.0" in text


def test_empty_batch(server):
    assert predictions(server, {"inputs": []}) == {"outputs": []}


def test_gzip(server):
    body = gzip.compress(b'{"instances": [2.0]}')
    response = server.post(f"{BASE}:predict", body, **{"Content-Encoding": "gzip"})
    assert response.json() == {"predictions": [4.0]}


def test_content_after_the_document_is_ignored(server):
    assert predictions(server, '{"instances": [2.0]}X') == {"predictions": [4.0]}


# What is wrong with a body


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("", "JSON Parse error: The document is empty"),
        ("instances = [1, 2]", "JSON Parse error: Invalid value"),
        ('{"instances": [1,', "JSON Parse error"),
        (b'{"instances": ["\xff"]}', None),
        ("[1, 2]", "Is not object"),
        ("null", "Is not object"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"instances": [1], "inputs": [1]}', "expecting only one of 'inputs' or 'instances' keys"),
        ('{"instances": 1}', "Expecting 'instances' to be an list/array"),
        ('{"instances": []}', "No values in 'instances' array"),
        ('{"signature_name": 100}', "'signature_name' key must be a string value."),
        (
            '{"signature_name": "x", "instances": [1]}',
            'Serving signature name: "x" not found in signature def',
        ),
        (
            '{"instances": ["x", "y"]}',
            'JSON Value: "x" Type: String is not of expected type: float',
        ),
        ('{"instances": [true]}', "Type: True is not of expected type: float"),
        ('{"instances": [1.0, true]}', "Type: True is not of expected type: float"),
        ('{"instances": [[1.0, true]]}', "Type: True is not of expected type: float"),
        ('{"instances": [null]}', "Type: Null is not of expected type: float"),
        ('{"instances": [[1, 2], [3]]}', "Expecting tensor size: 2 but got: 1"),
        ('{"instances": [[[1], [2]], [[3, 4]]]}', "Expecting shape [2,1] but got: [1,2]"),
        ('{"instances": [[1], 2]}', "Expecting shape [1] but got: []"),
        ('{"instances": [[[1, 2], [3]]]}', "Encountered list at unexpected size: 1 at level: 1"),
        ('{"instances": [[1, [2]]]}', "Encountered list at unexpected level: 1 expected < 1"),
        ('{"instances": [[[1], 2]]}', "found at incorrect level: 2 in the JSON DOM"),
        ('{"instances": [{"x": 1}, 2]}', "Expecting object but got list at item 1 of input list"),
        ('{"instances": [1, {"x": 1}]}', "Expecting value/list but got object at item 1"),
        ('{"instances": [{"z": 1}]}', None),
        ('{"inputs": {"z": 1}}', "Missing named input: x in 'inputs' object."),
        ('{"instances": [{"b64": "eA=="}]}', "is not of expected type: float"),
        (
            '{"signature_name": "many", "instances": [1]}',
            "instances is a plain list, but expecting list of objects as multiple input tensors",
        ),
        (
            '{"signature_name": "many", "inputs": [1]}',
            "inputs is a plain value/list, but expecting an object as multiple input tensors",
        ),
        (
            '{"signature_name": "copy", "instances": [{"b64": "?"}]}',
            "Unable to base64 decode",
        ),
        ('{"signature_name": "copy", "instances": [1]}', "is not of expected type: string"),
        (
            '{"signature_name": "scalar", "inputs": {"number": 1.0}}',
            "JSON Value: 1.0 Type: Number is not of expected type: int64",
        ),
        ('{"signature_name": "scalar", "inputs": {"number": [1]}}', None),
        ('{"signature_name": "small", "inputs": [1.5]}', "is not of expected type: uint8"),
        (
            '{"signature_name": "half_precision", "inputs": [1]}',
            "Failed to write JSON value for tensor type: half",
        ),
        (
            '{"signature_name": "uneven", "instances": [1, 2]}',
            "has inconsistent batch size: 1 expecting: 2",
        ),
        ('{"signature_name": "positive", "instances": [1, -1]}', "x must be positive"),
    ],
)
def test_bodies_that_are_refused(server, body, text):
    found = server.error(body)
    if text:
        assert text in found


def test_key_of_a_row_that_is_not_an_input(server):
    rows = [{"int_tensor": 1, "float_tensor": [1], "str_tensor": "a"}]
    text = server.error({"signature_name": "many", "instances": rows})
    assert "Failed to process element: 0 of 'instances' list" in text
    assert "keys must be equal to: bool_tensor,float_tensor,int_tensor,str_tensor" in text


def test_types_that_json_cannot_carry(server):
    body = {"signature_name": "from_half_precision", "inputs": [1]}
    assert "to type: half" in server.error(body, code=501)


def test_metrics(server):
    server.predict({"instances": [1.0]})
    server.error({"instances": ["x"]})
    response = server.get("/monitoring/prometheus/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    lines = response.text.splitlines()
    assert "# TYPE :tensorflow:serving:request_count counter" in lines
    counts = [line for line in lines if line.startswith(":tensorflow:serving:request_count{")]
    assert any(f'model_name="{model.NAME}"' in line and 'status="OK"' in line for line in counts)
    assert any(":tensorflow:serving:request_latency_bucket{" in line for line in lines)


def test_preflight_asks_for_an_origin(server):
    url = f"{server.rest}{BASE}:predict"
    assert httpx.options(url, headers={"Origin": "http://x"}).status_code == 200
    text = error_or_empty(httpx.options(url))
    assert text in ("", "Origin header is missing in CORS preflight")


def error_or_empty(response) -> str:
    assert response.status_code == 400
    return response.json()["error"] if response.content else ""
