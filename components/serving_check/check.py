"""The serving check: whether this SavedModel answers clients correctly on a model server.

Contract: starts a server process on the candidate, sends real images to every signature, one at a
time and in a batch, over gRPC and over REST, and compares the answers with the same SavedModel in
this process. Every fault of the candidate is the reason of a refusal and never raises. Takes 10 to
30 s. The server is ours and listens on Unix sockets that no other user reaches, on no port; the
setting ``tensorflow_serving`` runs upstream's, which listens on every address meanwhile.
"""

import dataclasses
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf

from components.serving_check.config import ServingCheckConfig
from components.serving_check.inputs import (
    Refusal,
    check_specs,
    decode_png,
    make_inputs,
    specs_of,
)
from core import progress
from core.config import InputError
from core.images import IMAGE_SHAPE
from core.wording import number
from serving.client import Client
from serving.errors import RequestError, ServingError
from serving.model_server.errors import LoadError
from serving.model_server.grpc_client import GrpcClient
from serving.model_server.process import ServerProcess, StartError
from serving.model_server.servable import load_saved_model

_RANGES = {"image": (0.0, 1.0), "score": (0.0, 1.0), "probabilities": (0.0, 1.0)}
_PNG_LEVEL = 1 / 255  # a value between two grey levels may be rounded either way
_RANGE_SLACK = 1e-6
_MIN_TIMED = 3
_TIMING_BUDGET_SECONDS = 3.0


@dataclasses.dataclass(frozen=True)
class Latency:
    """Milliseconds of single requests, measured by a client on the same machine."""

    batch: int
    requests: int
    p50: float
    p95: float


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """The verdict, its reason in words, and the measurements."""

    model: str
    passed: bool
    reason: str
    server: str
    load_seconds: float | None = None
    memory_mib: float | None = None  # peak of the server process
    latency_ms: Mapping[str, Latency] = dataclasses.field(default_factory=dict)
    max_difference: Mapping[str, float] = dataclasses.field(default_factory=dict)
    # By signature: the smallest request that was answered correctly, to warm a server up.
    warmup: Mapping[str, Mapping[str, np.ndarray]] = dataclasses.field(
        default_factory=dict, repr=False
    )

    def to_json(self) -> dict[str, Any]:
        """The content of serving_check.json."""
        content = dataclasses.asdict(dataclasses.replace(self, warmup={}))
        del content["warmup"]
        return content


def check_model(
    model_dir: str | Path, model_name: str, images: np.ndarray, config: ServingCheckConfig
) -> CheckResult:
    """Checks the SavedModel in ``model_dir`` on a real model server.

    Args:
        model_dir: Directory of the SavedModel.
        model_name: Name it is served under.
        images: [N, 28, 28, 1] float32 in [0, 1]; the first ``config.images`` are sent.
        config: Requests to send and bounds to check.

    Raises:
        InputError: TensorFlow Serving is requested and not installed, no port is free, or no
            temporary directory takes a Unix socket.
    """
    with tempfile.TemporaryDirectory(prefix="serving-check-") as base:
        # A server wants numbered versions; a link spares copying the model.
        (Path(base) / "1").symlink_to(Path(model_dir).resolve(), target_is_directory=True)
        server = ServerProcess(
            model_name,
            base,
            config.start_timeout_s,
            tensorflow_serving=config.tensorflow_serving,
        )
        checker = _Checker(model_name, images[: config.images], config)
        try:
            server.start()
            model = _load(model_dir)  # while the server spends seconds on imports
            server.wait_available()
            with (
                GrpcClient(server.endpoint, model_name) as client,
                # REST opens a moment after gRPC, so a connection may be refused at first.
                Client(
                    model_name,
                    server.rest,
                    timeout_s=config.request_timeout_s,
                    wait_s=config.request_timeout_s,
                ) as rest,
            ):
                problems = checker.check(client, rest, model)
            checker.memory_mib = server.peak_mib()
            if checker.memory_mib > config.max_memory_mib:
                problems.append(
                    f"The server took {checker.memory_mib:.0f} MiB, and "
                    f"{config.max_memory_mib:g} MiB are allowed."
                )
        except StartError as error:
            problems = [f"The {server.kind} cannot serve the model: {error}."]
        except LoadError as error:
            problems = [f"The SavedModel does not load: {error}"]
        except Refusal as error:
            problems = [str(error)]
        except ServingError as error:  # not a fault of the candidate
            setting = "serving_check.tensorflow_serving: " if config.tensorflow_serving else ""
            raise InputError(f"{setting}{error}") from None
        finally:
            server.stop()
    return CheckResult(
        model=model_name,
        passed=not problems,
        reason=" ".join(problems) or checker.summary(),
        server=server.kind,
        load_seconds=server.load_seconds or None,
        memory_mib=checker.memory_mib,
        latency_ms=checker.latency_ms,
        max_difference=checker.max_difference,
        warmup=checker.warmup,
    )


def _load(model_dir: str | Path) -> Any:
    with tf.device("/CPU:0"):  # as the server, which gets no GPU
        model = load_saved_model(Path(model_dir))
    if not model.signatures:
        raise Refusal(f"The SavedModel in {model_dir} has no signatures.")
    return model


class _Checker:
    """Calls the signatures and collects problems and measurements."""

    def __init__(self, model_name: str, images: np.ndarray, config: ServingCheckConfig):
        self._stage = f"serving check {model_name}"
        self._images = images
        self._config = config
        self._model: Any = None
        self.latency_ms: dict[str, Latency] = {}
        self.max_difference: dict[str, float] = {}
        self.warmup: dict[str, dict[str, np.ndarray]] = {}
        self.memory_mib: float | None = None
        self._rest: Client

    def check(self, client: GrpcClient, rest: Client, model: Any) -> list[str]:
        """One sentence per faulty signature; empty if there is none."""
        self._rest = rest
        self._model = model  # owns the variables: its signatures alone do not keep them alive
        problems = []
        signatures = list(model.signatures)
        for done, name in enumerate(sorted(signatures), start=1):
            try:
                self._check_signature(client, name)
            except Refusal as refusal:
                problems.append(f"Signature {name} {refusal}")
            progress.report(self._stage, done, len(signatures))
        return problems

    def summary(self) -> str:
        slowest = max(self.latency_ms.items(), key=lambda item: item[1].p50)
        return (
            f"All {len(self.latency_ms)} signatures answer as in process "
            f"(largest difference {number(float(max(self.max_difference.values())))}); "
            f"the slowest, {slowest[0]}, takes {slowest[1].p50:.0f} ms."
        )

    def _check_signature(self, client: GrpcClient, name: str) -> None:
        specs = specs_of(self._model.signatures[name])
        check_specs(specs)
        config = self._config
        single = make_inputs(specs, self._images[:1], config, self._encode, count=1)
        batch = make_inputs(specs, self._images, config, self._encode, config.generate_count)
        batch_size = config.generate_count if "count" in specs else len(self._images)
        self.max_difference[name] = max(
            self._compare(client, name, single, 1),
            self._compare(client, name, batch, batch_size),
        )
        self.latency_ms[name] = latency = self._time(client, name, single)
        if latency.p50 > config.max_latency_ms:
            raise Refusal(
                f"takes {latency.p50:.0f} ms for a single request (median of {latency.requests}), "
                f"and {config.max_latency_ms:g} ms are allowed."
            )
        self.warmup[name] = single

    def _compare(
        self, client: GrpcClient, name: str, inputs: Mapping[str, np.ndarray], batch: int
    ) -> float:
        """Largest difference of the server's answer from the one in this process."""
        # The server goes first: its answer has a deadline, and a call in process has none.
        served = self._call(client, name, inputs)
        expected = self._run(name, inputs)
        if set(served) != set(expected):
            raise Refusal(
                f"answers {_join(served)} on the server and {_join(expected)} in process."
            )
        difference = self._compare_outputs(served, expected, batch)
        try:
            over_rest = self._rest.predict(name, inputs)
            return max(difference, self._compare_outputs(over_rest, expected, batch))
        except (RequestError, Refusal) as error:
            raise Refusal(f"over REST: {error}") from error

    def _compare_outputs(
        self, served: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], batch: int
    ) -> float:
        return max(self._compare_output(key, served[key], expected[key], batch) for key in served)

    def _compare_output(
        self, key: str, served: np.ndarray, expected: np.ndarray, batch: int
    ) -> float:
        tolerance = self._config.tolerance
        if key == "image_bytes":
            if served.dtype != object or served.ndim != 1:
                raise Refusal(f"returns {key} as {served.dtype} {list(served.shape)}.")
            key, served, expected = "image", decode_png(served), decode_png(expected)
            tolerance += _PNG_LEVEL
        if served.dtype != np.float32:
            raise Refusal(f"returns {key} as {served.dtype}, and it must be float32.")
        wanted_shape = (batch, *IMAGE_SHAPE) if key == "image" else (batch, *expected.shape[1:])
        if served.shape != wanted_shape:
            raise Refusal(
                f"returns {key} of shape {list(served.shape)} for a batch of {batch}, "
                f"and it must be {list(wanted_shape)}."
            )
        if not np.isfinite(served).all():
            share = 1 - np.isfinite(served).mean()
            raise Refusal(f"returns {key} with NaN or infinity in {share:.0%} of its values.")
        low, high = _RANGES.get(key, (-np.inf, np.inf))
        if served.min() < low - _RANGE_SLACK or served.max() > high + _RANGE_SLACK:
            raise Refusal(
                f"returns {key} from {served.min():.4g} to {served.max():.4g}, "
                f"and it must be in [{low:g}, {high:g}]."
            )
        if expected.shape != served.shape:
            raise Refusal(f"returns {key} of another shape in process: {list(expected.shape)}.")
        difference = np.abs(served - expected) / np.maximum(1, np.abs(expected))
        if not difference.max() <= tolerance:  # written so that NaN in process is refused too
            raise Refusal(
                f"returns {key} that differs from the result in process by "
                f"{difference.max():.2g}, and {tolerance:.2g} is allowed."
            )
        return float(difference.max())

    def _time(self, client: GrpcClient, name: str, inputs: Mapping[str, np.ndarray]) -> Latency:
        milliseconds: list[float] = []
        end = time.monotonic() + _TIMING_BUDGET_SECONDS
        while len(milliseconds) < self._config.latency_requests:
            if len(milliseconds) >= _MIN_TIMED and time.monotonic() > end:
                break
            start = time.perf_counter()
            self._call(client, name, inputs)
            milliseconds.append(1000 * (time.perf_counter() - start))
        p50, p95 = np.percentile(milliseconds, [50, 95])
        return Latency(1, len(milliseconds), round(float(p50), 3), round(float(p95), 3))

    def _call(
        self, client: GrpcClient, name: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        try:
            return client.predict(name, inputs, self._config.request_timeout_s)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                seconds = self._config.request_timeout_s
                raise Refusal(f"did not answer within {seconds:g} s.") from error
            details = " ".join((error.details() or "").split())
            raise Refusal(f"fails with {error.code().name}: {details}") from error

    def _run(self, name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            with tf.device("/CPU:0"):
                tensors = {key: tf.constant(value) for key, value in inputs.items()}
                outputs = self._model.signatures[name](**tensors)
        except (tf.errors.OpError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise Refusal(f"fails in process, though not on the server: {reason}") from error
        return {key: value.numpy() for key, value in outputs.items()}

    def _encode(self, images: np.ndarray) -> np.ndarray:
        if "encode" not in self._model.signatures:
            raise Refusal("takes a 'code', and there is no signature encode to make one.")
        check_specs(specs_of(self._model.signatures["encode"]))
        outputs = self._run("encode", {"image": images})
        if "code" not in outputs:
            raise Refusal("takes a 'code', and the signature encode does not return one.")
        return outputs["code"]


def _join(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names))
