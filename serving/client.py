"""Calls models by name: a typed method for every signature, over REST or gRPC.

    from serving.client import Client
    with Client("gan") as gan:
        images = gan.generate(count=64, seed=1)                     [64, 28, 28, 1]

Contract: arrays and PIL images in, NumPy out. Works with TensorFlow Serving and with the server of
this project. Temporary failures (UNAVAILABLE, a lost connection) are retried until the deadline. If
no server listens, ``NoServerError`` is raised at once, or after ``wait_s``; any other failure is a
``RequestError`` at once. All calls are pure, so a retry is safe. REST needs no TensorFlow; gRPC
imports it.
"""

import base64
import json
import random
import re
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

import httpx
import numpy as np
import orjson

from serving.errors import NoServerError, RequestError, ServingError
from serving.images import as_images

_T = TypeVar("_T")
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 2.0
# gRPC's messages if nothing listens or the host does not exist, but not if an attempt took too
# long (100 ms) on a busy machine.
_NOT_CONNECTED = re.compile("failed to connect.*Connection refused|errors resolving|DNS resolution")
_CODES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    403: "PERMISSION_DENIED",
    413: "INVALID_ARGUMENT",  # the request is too large; 429 is a server with too much to do
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Client:
    """One model on one server; a context manager, safe to use from several threads."""

    def __init__(
        self,
        model: str,
        address: str = "localhost:8501",
        *,
        protocol: str = "rest",
        version: int | None = None,
        label: str | None = None,
        timeout_s: float = 30.0,
        wait_s: float = 0.0,
    ):
        """Opens no connection yet.

        Args:
            model: Name it is served under.
            address: ``host:port`` of the protocol: 8501 for REST and 8500 for gRPC by default.
            protocol: rest or grpc.
            version: Number of the version to call.
            label: Label of the version to call, such as stable.
            timeout_s: Deadline of each call, retries included.
            wait_s: Seconds to retry while no server listens, before that deadline starts.

        Raises:
            ServingError: Both a version and a label, or another protocol.
        """
        if version is not None and label:
            raise ServingError("Give a version or a label, not both.")
        if protocol not in ("rest", "grpc"):
            raise ServingError(f"The protocol is rest or grpc, not {protocol}.")
        self.model, self.address, self.label = model, address, label
        self._timeout_s, self._wait_s = timeout_s, wait_s
        self._transport: _Rest | _Grpc = (_Rest if protocol == "rest" else _Grpc)(
            model, address, version, label
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    # Every model

    def predict(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Runs any signature; strings are bytes, in lists or object arrays.

        Raises:
            RequestError: With the server's code and message.
        """
        return self._retry(lambda left: self._transport.predict(signature, inputs, left))

    def version(self) -> int:
        """The version that answers."""
        return self._retry(self._transport.version)

    def states(self) -> dict[int, str]:
        """State by version, such as AVAILABLE."""
        return self._retry(self._transport.states)

    def signatures(self) -> dict[str, list[str]]:
        """Names of the inputs, sorted, by signature of the version that answers."""
        found = self._retry(self._transport.signatures)
        # TensorFlow adds one that is not for clients: __saved_model_init_op.
        return {name: inputs for name, inputs in found.items() if not name.startswith("__")}

    # Autoencoder, and denoise of the diffusion model

    def reconstruct(self, images) -> np.ndarray:
        """Images [B, 28, 28, 1] to their reconstructions, through the latent code."""
        return self.predict("serving_default", {"image": as_images(images)})["image"]

    def encode(self, images) -> np.ndarray:
        """Latent codes [B, D] of images."""
        return self.predict("encode", {"image": as_images(images)})["code"]

    def decode(self, code: np.ndarray) -> np.ndarray:
        """Images [B, 28, 28, 1] of codes [B, D]."""
        return self.predict("decode", {"code": np.asarray(code, "float32")})["image"]

    def anomaly_score(self, images) -> np.ndarray:
        """[B], nats per pixel above the image's own entropy; higher is more anomalous."""
        return self.predict("anomaly_score", {"image": as_images(images)})["anomaly_score"]

    def denoise(self, images, noise_level: float | np.ndarray | None = None) -> np.ndarray:
        """Clean images.

        Args:
            images: With noise.
            noise_level: Standard deviation of the noise in [0, 1], one for all or for each;
                required by the diffusion model, not taken by the autoencoder.
        """
        array = as_images(images)
        inputs: dict[str, Any] = {"image": array}
        if noise_level is not None:
            level = np.broadcast_to(np.asarray(noise_level, "float32"), len(array))
            inputs["noise_level"] = np.ascontiguousarray(level)
        return self.predict("denoise", inputs)["image"]

    # Diffusion and GAN

    def generate(self, count: int, seed: int = 0, steps: int | None = None) -> np.ndarray:
        """New images [count, 28, 28, 1]; the same seed gives the same ones.

        Args:
            count: Number of images.
            seed: Any 32-bit integer.
            steps: Of the reverse process; required by the diffusion model, not taken by the GAN.
        """
        inputs = {"seed": np.int32(seed), "count": np.int32(count)}
        if steps is not None:
            inputs["steps"] = np.int32(steps)
        return self.predict("generate", inputs)["image"]

    def forward(self, images, step: int | np.ndarray, seed: int = 0) -> np.ndarray:
        """Images with the noise of ``step`` (0 to 1000) of the forward process (diffusion)."""
        array = as_images(images)
        steps = np.ascontiguousarray(np.broadcast_to(np.asarray(step, "int32"), len(array)))
        inputs = {"image": array, "step": steps, "seed": np.int32(seed)}
        return self.predict("forward", inputs)["image"]

    def decode_latent(self, latent: np.ndarray) -> np.ndarray:
        """Images [B, 28, 28, 1] of latents [B, D] (GAN)."""
        return self.predict("serving_default", {"latent": np.asarray(latent, "float32")})["image"]

    def discriminate(self, images) -> np.ndarray:
        """[B] in [0, 1]: above one half the discriminator considers the image real (GAN)."""
        return self.predict("discriminate", {"image": as_images(images)})["score"]

    def _retry(self, call: Callable[[float], _T]) -> _T:
        """Calls with the remaining seconds; retries while the server is unavailable."""
        begin = time.monotonic()
        end = begin + self._timeout_s
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return call(max(end - time.monotonic(), 0.001))
            except RequestError as error:
                wait = pause * random.uniform(0.5, 1.5)  # noqa: S311 - or all clients retry at once
                is_refused = isinstance(error, NoServerError)
                last = begin + self._wait_s if is_refused else end
                if error.code != "UNAVAILABLE" or time.monotonic() + wait > last:
                    raise
            time.sleep(wait)
            if is_refused:
                end = time.monotonic() + self._timeout_s
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


class _Rest:
    """JSON over HTTP; names of outputs come from the model's metadata."""

    def __init__(self, model: str, address: str, version: int | None, label: str | None):
        self._base = address if "://" in address else f"http://{address}"
        self._model = f"/v1/models/{model}"
        self._path = self._model
        if version is not None:
            self._path += f"/versions/{version}"
        elif label:
            self._path += f"/labels/{label}"
        self._signatures: dict[str, dict[str, Any]] = {}  # of the model's metadata
        self._http = httpx.Client(base_url=self._base, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def predict(
        self, signature: str, inputs: Mapping[str, Any], timeout_s: float
    ) -> dict[str, np.ndarray]:
        body = orjson.dumps(
            {"signature_name": signature, "inputs": {k: _jsonable(v) for k, v in inputs.items()}},
            option=orjson.OPT_SERIALIZE_NUMPY,
        )
        content = self._ask("POST", f"{self._path}:predict", timeout_s, body)["outputs"]
        names = self._names(signature, timeout_s)
        found = content if len(names) > 1 else {names[0]: content}
        return {name: _array(value) for name, value in found.items()}

    def version(self, timeout_s: float) -> int:
        return int(self._metadata(timeout_s)["model_spec"]["version"])

    def states(self, timeout_s: float) -> dict[int, str]:
        found = self._ask("GET", self._model, timeout_s)["model_version_status"]
        return {int(status["version"]): status["state"] for status in found}

    def _names(self, signature: str, timeout_s: float) -> list[str]:
        """A single output comes without its name; signatures rarely differ between versions."""
        if signature not in self._signatures:
            self._metadata(timeout_s)
        return sorted(self._signatures[signature]["outputs"])

    def signatures(self, timeout_s: float) -> dict[str, list[str]]:
        self._metadata(timeout_s)
        return {name: sorted(found["inputs"]) for name, found in self._signatures.items()}

    def _metadata(self, timeout_s: float) -> Any:
        found = self._ask("GET", f"{self._path}/metadata", timeout_s)
        self._signatures = found["metadata"]["signature_def"]["signature_def"]
        return found

    def _ask(self, method: str, path: str, timeout_s: float, body: bytes | None = None) -> Any:
        try:
            response = self._http.request(method, path, content=body, timeout=timeout_s)
        except httpx.TimeoutException:
            raise RequestError(
                "DEADLINE_EXCEEDED", f"{self._base} did not answer in time."
            ) from None
        except httpx.ConnectError as error:
            reason = str(error).partition("] ")[2] or str(error)  # without the number of the error
            if _is_nobody_there(error):
                raise NoServerError(self._base, reason) from None
            raise RequestError(
                "UNAVAILABLE", f"No connection to {self._base} ({reason})."
            ) from None
        except httpx.TransportError as error:
            raise RequestError(
                "UNAVAILABLE", f"The connection to {self._base} was lost ({error})."
            ) from None
        except httpx.InvalidURL as error:
            raise ServingError(f"{self._base} is not an address: {error}") from None
        if response.status_code != 200:
            code = _CODES.get(response.status_code, "UNKNOWN")
            raise RequestError(code, _words(response))
        try:
            return orjson.loads(response.content)
        except orjson.JSONDecodeError:
            return json.loads(response.content)  # NaN and Infinity


class _Grpc:
    """Protocol buffers, which hold arrays as they are."""

    def __init__(self, model: str, address: str, version: int | None, label: str | None):
        from serving.model_server.grpc_client import GrpcClient

        self._client = GrpcClient(address, model)
        self._address, self._version, self._label = address, version, label

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
            if _NOT_CONNECTED.match(words):
                raise NoServerError(self._address, words.rpartition(": ")[2].rstrip("]")) from None
            raise RequestError(error.code().name, words) from None


def _is_nobody_there(error: BaseException | None) -> bool:
    """Whether a connection was refused, or there is no such host; not so if TLS fails."""
    while error is not None:
        if isinstance(error, ConnectionRefusedError | socket.gaierror):
            return True
        error = error.__cause__ or error.__context__
    return False


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


def _words(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code} from {response.url}"
