"""The two ways in which the client reaches a model server: JSON over HTTP, and gRPC.

Contract: arrays in and arrays out, one request for each call, nothing is tried again. A failure of
the server or the way to it is a ``RequestError``; an address at which no model server can ever
answer (the other protocol's port, a web site) is a plain ``ServingError``.
"""

import base64
import contextlib
import dataclasses
import json
import re
import socket
import ssl
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import orjson

from serving.errors import NoServerError, RequestError, ServingError

_T = TypeVar("_T")
_PROBE_SECONDS = 2.0
# gRPC's messages if nothing listens or the host does not exist, but not if an attempt took too
# long (100 ms) on a busy machine.
_NOT_CONNECTED = re.compile("failed to connect.*Connection refused|errors resolving|DNS resolution")
# In gRPC's message for a certificate of another authority, and of another name.
_NOT_TRUSTED = re.compile("CERTIFICATE_VERIFY_FAILED|Hostname Verification|Peer name")
# In gRPC's message if the port is that of REST, or of any other server that speaks first.
_NOT_HTTP2 = re.compile("http1.x server|Expected SETTINGS frame")
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    403: "PERMISSION_DENIED",
    413: "INVALID_ARGUMENT",  # the request is too large; 429 is a server with too much to do
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_FROM_PROXIES = (401, 403, 407, 408, 413, 429)  # what stands before a server answers in its words


@dataclasses.dataclass(frozen=True)
class Server:
    """A model server: where it is, and what it asks of its clients.

    ``address`` is ``host:port`` of the protocol, or ``unix:`` and the path of a socket; for REST
    also a URL.
    """

    address: str
    token: str = dataclasses.field(default="", repr=False)  # empty if it asks for none
    # File, in PEM, of the authority that signed its certificate; None if it does not encrypt, or
    # by a public authority (REST at https://...).
    ca: Path | None = None

    def __str__(self) -> str:
        return self.address


class Rest:
    """JSON over HTTP; names of outputs come from the model's metadata."""

    def __init__(self, model: str, server: Server, version: int | None, label: str | None):
        address, ca = server.address, server.ca
        path = _socket_of(address)
        scheme = "http" if ca is None else "https"
        self._base = address if "://" in address or path else f"{scheme}://{address}"
        self._model = f"/v1/models/{urllib.parse.quote(model, safe='')}"
        self._path = self._model
        if version is not None:
            self._path += f"/versions/{version}"
        elif label:
            self._path += f"/labels/{urllib.parse.quote(label, safe='')}"
        self._version = 0
        self._signatures: dict[str, dict[str, Any]] = {}  # of the model's metadata
        try:
            self._http = httpx.Client(
                base_url=f"{scheme}://localhost" if path else self._base,
                headers={"Authorization": f"Bearer {server.token}"} if server.token else None,
                verify=True if ca is None else _context(ca),
                transport=httpx.HTTPTransport(uds=path) if path else None,
                trust_env=False,
            )
        except httpx.InvalidURL as error:
            raise ServingError(f"{self._base} is not an address: {error}.") from None

    def close(self) -> None:
        self._http.close()

    def predict(
        self, signature: str, inputs: Mapping[str, Any], timeout_s: float
    ) -> dict[str, np.ndarray]:
        body = _json({"signature_name": signature}, inputs)
        content = self._ask("POST", f"{self._path}:predict", timeout_s, "outputs", body=body)
        names = self._names(signature, timeout_s)
        found = content if len(names) > 1 else {names[0]: content}
        return {name: _array(value) for name, value in found.items()}

    def version(self, timeout_s: float) -> int:
        self._metadata(timeout_s)
        return self._version

    def states(self, timeout_s: float) -> dict[int, str]:
        found = self._ask("GET", self._model, timeout_s, "model_version_status")
        return {int(status["version"]): status["state"] for status in found}

    def _names(self, signature: str, timeout_s: float) -> list[str]:
        """A single output comes without its name; signatures rarely differ between versions."""
        if signature not in self._signatures:
            self._metadata(timeout_s)
        return sorted(self._signatures[signature]["outputs"])

    def signatures(self, timeout_s: float) -> dict[str, list[str]]:
        self._metadata(timeout_s)
        return {name: sorted(found["inputs"]) for name, found in self._signatures.items()}

    def _metadata(self, timeout_s: float) -> None:
        path = f"{self._path}/metadata"
        spec, found = self._ask("GET", path, timeout_s, "model_spec", "metadata")
        self._version = int(spec["version"])
        self._signatures = found["signature_def"]["signature_def"]

    def _ask(
        self, method: str, path: str, timeout_s: float, *keys: str, body: bytes | None = None
    ) -> Any:
        """What the answer holds under the key, or under each of several."""
        try:
            response = self._http.request(method, path, content=body, timeout=timeout_s)
        except httpx.TimeoutException:
            raise RequestError(
                "DEADLINE_EXCEEDED", f"{self._base} did not answer in time."
            ) from None
        except httpx.ConnectError as error:
            if why := _distrust(error):
                raise ServingError(f"{self._base} is not to be trusted: {why}.") from None
            reason = str(error).partition("] ")[2] or str(error)  # without the number of the error
            if _is_nobody_there(error):
                raise NoServerError(self._base, reason) from None
            raise RequestError(
                "UNAVAILABLE", f"No connection to {self._base} ({reason})."
            ) from None
        except httpx.RemoteProtocolError as error:
            if _speaks_http2(self._http.base_url):
                raise ServingError(
                    f"{self._base} speaks gRPC, not REST; give the port for REST, 8501 by default."
                ) from None
            raise self._lost(error) from None
        except httpx.TransportError as error:
            raise self._lost(error) from None
        return _content(response, keys)

    def _lost(self, error: Exception) -> RequestError:
        return RequestError("UNAVAILABLE", f"The connection to {self._base} was lost ({error}).")


class Grpc:
    """Protocol buffers, which hold arrays as they are."""

    def __init__(self, model: str, server: Server, version: int | None, label: str | None):
        from serving.model_server.grpc_client import GrpcClient

        ca = None
        if server.ca is not None:
            _context(server.ca)  # a mistake in the file is told here
            ca = server.ca.read_bytes()
        self._client = GrpcClient(server.address, model, server.token, ca)
        self._address, self._version, self._label = server.address, version, label

    def close(self) -> None:
        self._client.__exit__()

    def predict(
        self, signature: str, inputs: Mapping[str, Any], timeout_s: float
    ) -> dict[str, np.ndarray]:
        return self._ask(lambda: self._client.predict(
            signature, {k: _bytes_array(v) for k, v in inputs.items()}, timeout_s,
            version=self._version, label=self._label,
        ))  # fmt: skip

    def version(self, timeout_s: float) -> int:
        return self._metadata(timeout_s).model_spec.version.value

    def states(self, timeout_s: float) -> dict[int, str]:
        return self._ask(lambda: self._client.states(timeout_s))

    def signatures(self, timeout_s: float) -> dict[str, list[str]]:
        from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap

        found = SignatureDefMap()
        self._metadata(timeout_s).metadata["signature_def"].Unpack(found)
        return {name: sorted(s.inputs) for name, s in found.signature_def.items()}

    def _metadata(self, timeout_s: float) -> Any:
        return self._ask(lambda: self._client.metadata(timeout_s, self._version, self._label))

    def _ask(self, call: Callable[[], _T]) -> _T:
        import grpc

        try:
            return call()
        except grpc.RpcError as error:
            words = error.details() or self._address
            if _NOT_HTTP2.search(words):
                raise ServingError(
                    f"{self._address} does not speak gRPC, but perhaps REST; give the port for "
                    "gRPC, 8500 by default."
                ) from None
            if _NOT_TRUSTED.search(words):
                raise ServingError(f"{self._address} is not to be trusted: {words}") from None
            if _NOT_CONNECTED.match(words):
                raise NoServerError(self._address, words.rpartition(": ")[2].rstrip("]")) from None
            raise RequestError(error.code().name, words) from None


def _context(ca: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        raise ServingError(f"{ca} holds no certificate in PEM.") from None
    except OSError as error:
        raise ServingError(f"The certificate {ca} cannot be read ({error.strerror}).") from None


def _socket_of(address: str) -> str:
    """The path in ``unix:path`` or ``unix:///path``; empty for any other address."""
    return address.removeprefix("unix:").removeprefix("//") if address[:5] == "unix:" else ""


def _is_nobody_there(error: BaseException | None) -> bool:
    """Whether a connection was refused, or there is no such host; not so if TLS fails."""
    while error is not None:
        if isinstance(error, ConnectionRefusedError | FileNotFoundError | socket.gaierror):
            return True
        error = error.__cause__ or error.__context__
    return False


def _distrust(error: BaseException | None) -> str:
    """What is wrong with the server's certificate; empty if it is not that."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error.__cause__ or error.__context__
    return ""


def _speaks_http2(url: httpx.URL) -> bool:
    """Whether a server opens with HTTP/2's settings, as gRPC's does (RFC 9113, 3.4)."""
    try:
        address = url.host, url.port or 80
        with socket.create_connection(address, _PROBE_SECONDS) as connection:
            connection.settimeout(_PROBE_SECONDS)
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            return connection.recv(9)[3:4] == b"\4"
    except OSError:
        return False


def check_address(address: str, protocol: str) -> None:
    """Raises ``ServingError`` unless it is ``host:port``, ``unix:path``, or for REST a URL."""
    if _socket_of(address):
        return
    scheme, _, rest = address.rpartition("://")
    schemes = ("", "http", "https") if protocol == "rest" else ("", "dns", "unix", "ipv4", "ipv6")
    try:
        parts = urllib.parse.urlsplit(f"//{rest}")
        is_right = scheme in schemes and bool(rest) and (parts.port is None or parts.port > 0)
        if protocol == "rest":
            is_right = is_right and bool(parts.hostname)
    except ValueError:
        is_right = scheme not in ("", "http", "https") and scheme in schemes
    if not is_right:
        port = 8501 if protocol == "rest" else 8500
        raise ServingError(
            f"{address!r} is not the address of a model server; give HOST:PORT with a port from 1 "
            f"to 65535, such as localhost:{port}."
        )


def _content(response: httpx.Response, keys: Sequence[str]) -> Any:
    """What a model server's answer holds under the key, or under each of several."""
    content: Any = None
    with contextlib.suppress(ValueError):
        content = _loads(response.content)
    if response.status_code == 200 and isinstance(content, dict) and set(keys) <= set(content):
        return content[keys[0]] if len(keys) == 1 else [content[key] for key in keys]
    code = _CODES.get(response.status_code, "UNKNOWN")
    if isinstance(content, dict) and "error" in content:
        raise RequestError(code, str(content["error"]))
    status = f"HTTP {response.status_code} from {response.url}"
    if response.status_code >= 500 or response.status_code in _FROM_PROXIES:
        raise RequestError(code, status)
    raise ServingError(
        f"{response.url.netloc.decode()} is no model server ({status}); give the address of its "
        "REST port, 8501 by default."
    )


def _loads(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)  # NaN and Infinity


def _json(content: dict[str, Any], inputs: Mapping[str, Any]) -> bytes:
    values = {name: _jsonable(value) for name, value in inputs.items()}
    if all(np.isfinite(v).all() for v in values.values() if isinstance(v, np.ndarray | np.generic)):
        return orjson.dumps(content | {"inputs": values}, option=orjson.OPT_SERIALIZE_NUMPY)
    # orjson writes NaN and the infinities as null.
    plain = {k: v if isinstance(v, list) else v.tolist() for k, v in values.items()}
    return json.dumps(content | {"inputs": plain}).encode()


def _jsonable(value: Any) -> Any:
    array = _bytes_array(value)
    if array.dtype != object:
        return np.ascontiguousarray(array) if array.ndim else array[()]
    return [{"b64": base64.b64encode(item).decode()} for item in array]


def _bytes_array(value: Any) -> np.ndarray:
    """Arrays as they are; lists of bytes as object arrays, as NumPy's own would cut them."""
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        array = np.empty(len(value), object)
        array[:] = value
        return array
    return np.asarray(value)


def _array(value: Any) -> np.ndarray:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return _bytes_array([base64.b64decode(item["b64"]) for item in value])
    array = np.asarray(value)
    return array.astype("float32") if array.dtype == np.float64 else array
