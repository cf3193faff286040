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

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

import numpy as np

from serving.errors import NoServerError, RequestError, ServingError
from serving.images import as_images
from serving.transports import Grpc, Rest, Server, check_address

_T = TypeVar("_T")
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 2.0


class Signatures:
    """A typed method for every signature of every model, over ``predict``."""

    def predict(self, signature: str, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Runs any signature: arrays by name of the input, to arrays by name of the output."""
        raise NotImplementedError

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
            inputs["noise_level"] = _for_each(array, "noise_level", noise_level, "float32")
        return self.predict("denoise", inputs)["image"]

    # Diffusion and GAN

    def generate(self, count: int, seed: int = 0, steps: int | None = None) -> np.ndarray:
        """New images [count, 28, 28, 1]; the same seed gives the same ones.

        Args:
            count: Number of images.
            seed: Any 32-bit integer.
            steps: Of the reverse process; required by the diffusion model, not taken by the GAN.
        """
        inputs = {"seed": _int32("seed", seed), "count": _int32("count", count)}
        if steps is not None:
            inputs["steps"] = _int32("steps", steps)
        return self.predict("generate", inputs)["image"]

    def forward(self, images, step: int | np.ndarray, seed: int = 0) -> np.ndarray:
        """Images with the noise of ``step`` (0 to 1000) of the forward process (diffusion)."""
        array = as_images(images)
        steps = _for_each(array, "step", _int32("step", step), "int32")
        inputs = {"image": array, "step": steps, "seed": _int32("seed", seed)}
        return self.predict("forward", inputs)["image"]

    def decode_latent(self, latent: np.ndarray) -> np.ndarray:
        """Images [B, 28, 28, 1] of latents [B, D] (GAN)."""
        return self.predict("serving_default", {"latent": np.asarray(latent, "float32")})["image"]

    def discriminate(self, images) -> np.ndarray:
        """[B] in [0, 1]: above one half the discriminator considers the image real (GAN)."""
        return self.predict("discriminate", {"image": as_images(images)})["score"]


class Client(Signatures):
    """One model on one server; a context manager, safe to use from several threads."""

    def __init__(
        self,
        model: str,
        server: str | Server = "localhost:8501",
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
            server: Its address, ``host:port`` of the protocol (8501 for REST and 8500 for gRPC by
                default), or a ``Server`` that has a token or encrypts.
            protocol: rest or grpc.
            version: Number of the version to call.
            label: Label of the version to call, such as stable.
            timeout_s: Deadline of each call, retries included.
            wait_s: Seconds to retry while no server listens, before that deadline starts.

        Raises:
            ServingError: Both a version and a label, another protocol, no address, or no
                certificate in the server's file.
        """
        if version is not None and label:
            raise ServingError("Give a version or a label, not both.")
        if protocol not in ("rest", "grpc"):
            raise ServingError(f"The protocol is rest or grpc, not {protocol}.")
        self.server = Server(server) if isinstance(server, str) else server
        check_address(self.server.address, protocol)
        self.model, self.label = model, label
        self._timeout_s, self._wait_s = timeout_s, wait_s
        self._transport: Rest | Grpc = (Rest if protocol == "rest" else Grpc)(
            model, self.server, version, label
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

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


def _int32(name: str, value: Any) -> np.ndarray:
    """Whole numbers of 32 bits; ``ServingError`` for any other."""
    array = np.asarray(value)
    limits = np.iinfo("int32")
    if array.dtype.kind not in "iu" or ((array < limits.min) | (array > limits.max)).any():
        raise ServingError(
            f"The input {name} is {value!r}; make it a whole number from {limits.min} to "
            f"{limits.max}."
        )
    return array.astype("int32")


def _for_each(images: np.ndarray, name: str, value: Any, dtype: str) -> np.ndarray:
    """[B]: one value for each image."""
    try:
        every = np.broadcast_to(np.asarray(value, dtype), len(images))
    except ValueError:
        raise ServingError(
            f"The input {name} has the shape {list(np.shape(value))}; give one number, or one for "
            f"each of the {len(images)} images."
        ) from None
    return np.ascontiguousarray(every)
