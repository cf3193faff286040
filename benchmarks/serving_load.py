"""Closed-loop load on the model server: each client sends the next request after each answer.

    python -m benchmarks.serving_load --serving serving_models                    five minutes
    python -m benchmarks.serving_load --serving serving_models --soak-minutes 10  memory over time

Contract: every client sends (or requests) one image by the signature of its model in
``SIGNATURES``, over REST or gRPC. The same SavedModel in a plain FastAPI handler, without batching,
is measured in the same run by the same clients. Clients run in a process of their own, on the same
cores as the server; bodies are made once. REST is HTTP/1.1 with one connection per client.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import psutil

from benchmarks import tables
from core.images import IMAGE_SHAPE
from serving.model_server.starting import LOCAL, ROOT, command, environment, free_ports, is_free
from serving.releases import served_models, write_config

SIGNATURES = {"autoencoder": "anomaly_score", "diffusion": "denoise", "gan": "serving_default"}
CLIENTS = (1, 8, 64)
COMPARED = "diffusion"
_WARM_SECONDS = 2.0  # at most, and never longer than the measurement


@dataclasses.dataclass(frozen=True)
class Load:
    """Result of one measurement; latencies in milliseconds."""

    server: str
    model: str
    protocol: str
    clients: int
    per_second: float
    p50: float
    p95: float
    p99: float
    errors: int
    mib: float


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints the table; 1 if a request failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--serving", type=Path, default=Path("serving_models"))
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds per measurement")
    parser.add_argument("--clients", type=int, nargs="+", default=list(CLIENTS))
    parser.add_argument("--models", nargs="+", choices=list(SIGNATURES), default=list(SIGNATURES))
    parser.add_argument("--soak-minutes", type=float, default=0.0, help="of a memory test")
    parser.add_argument("--batching", type=Path, help="file of batching parameters")
    options = parser.parse_args(arguments)
    models = [model for model in options.models if model in served_models(options.serving)]
    if not models:
        parser.error(f"there is no model in {options.serving}; push some with: inkwell run")
    loads: list[Load] = []
    with _model_server(options.serving, models, options.batching) as (process, ports):
        for model in models:
            for protocol, port in ports.items():
                for clients in options.clients:
                    loads.append(
                        measure("inkwell", process, model, protocol, port, clients, options.seconds)
                    )
                    print(loads[-1], file=sys.stderr, flush=True)
        soaked = None
        if options.soak_minutes and COMPARED in models:
            soaked = soak(process, ports["REST"], options.soak_minutes)
    if COMPARED in models:
        with _plain_server(options.serving, COMPARED) as (process, port):
            for clients in options.clients:
                loads.append(
                    measure("plain", process, COMPARED, "REST", port, clients, options.seconds)
                )
                print(loads[-1], file=sys.stderr, flush=True)
    tables.show(f"{tables.machine()}, load {os.getloadavg()[0]:.1f}", rows(loads), 110, left=3)
    for clients in options.clients:
        found = ratio(loads, clients)
        if found:
            print(f"{COMPARED}, {clients} clients: {found:.1f} times the plain handler")
    if soaked:
        print(soaked)
    return 1 if any(load.errors for load in loads) else 0


def ratio(loads: Sequence[Load], clients: int) -> float | None:
    """Throughput over REST as a multiple of the plain handler's; None if one was not measured."""
    found = {
        load.server: load.per_second
        for load in loads
        if (load.model, load.protocol, load.clients) == (COMPARED, "REST", clients)
    }
    return found["inkwell"] / found["plain"] if "inkwell" in found and found.get("plain") else None


def rows(loads: Sequence[Load]) -> list[list[str]]:
    """A line of titles, and one for each measurement."""
    titles = ["server", "model", "protocol", "clients", "requests/s", "p50, ms", "p95, ms"]
    lines = [[*titles, "p99, ms", "errors", "MiB"]]
    for load in loads:
        place = [load.server, load.model, load.protocol, f"{load.clients}"]
        latencies = [f"{each:.1f}" for each in (load.p50, load.p95, load.p99)]
        rate, memory = f"{load.per_second:.0f}", f"{load.mib:.0f}"
        lines.append([*place, rate, *latencies, f"{load.errors}", memory])
    return lines


def measure(
    server: str,
    process: psutil.Process,
    model: str,
    protocol: str,
    port: int,
    clients: int,
    seconds: float,
) -> Load:
    """Lets ``clients`` send requests for ``seconds``, after a short warm-up."""
    path = "/predict" if server == "plain" else f"/v1/models/{model}:predict"
    work = (protocol, port, path, _body(model, protocol), clients, seconds)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        latencies, errors = pool.apply(run_clients, work)
    milliseconds = 1000 * np.array(latencies or [np.nan])
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99]).tolist()
    mib = process.memory_info().rss / 2**20
    return Load(
        server, model, protocol, clients, len(latencies) / seconds, p50, p95, p99, errors, mib
    )


def soak(process: psutil.Process, port: int, minutes: float, clients: int = 8) -> str:
    """Memory of the server under steady load, in a sentence."""
    found = []
    end = time.monotonic() + 60 * minutes
    errors = 0
    while time.monotonic() < end:
        load = measure("inkwell", process, COMPARED, "REST", port, clients, min(20.0, 15 * minutes))
        found.append(load.mib)
        errors += load.errors
    third = max(1, len(found) // 3)
    first, last = np.mean(found[:third]), np.mean(found[-third:])
    return (
        f"Memory over {minutes:g} minutes with {clients} clients: {first:.0f} MiB in the first "
        f"third, {last:.0f} MiB in the last ({last - first:+.1f}); {errors} errors."
    )


def run_clients(
    protocol: str, port: int, path: str, body: bytes, clients: int, seconds: float
) -> tuple[list[float], int]:
    """In a process of its own: seconds of every answered request, and the number of failures."""
    one = _rest_client if protocol == "REST" else _grpc_client
    latencies: list[float] = []
    errors = 0

    async def client(start: float, end: float) -> None:
        nonlocal errors
        async with one(port, path, body) as ask:
            while (began := time.perf_counter()) < end:
                try:
                    await ask()
                except Exception as error:  # noqa: BLE001 - any error is counted
                    if not errors:
                        print(f"{type(error).__name__}: {error}", file=sys.stderr)
                    errors += 1
                    await asyncio.sleep(0.01)
                    continue
                if began >= start:
                    latencies.append(time.perf_counter() - began)

    async def all_clients() -> None:
        start = time.perf_counter() + min(_WARM_SECONDS, seconds)
        await asyncio.gather(*(client(start, start + seconds) for _ in range(clients)))

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(all_clients())
    return latencies, errors


@contextlib.asynccontextmanager
async def _rest_client(port: int, path: str, body: bytes):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body

    async def ask() -> None:
        writer.write(request)
        status = await reader.readline()
        length = 0
        while (line := await reader.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        await reader.readexactly(length)
        if b" 200 " not in status:
            raise RuntimeError(status)

    yield ask
    writer.close()


@contextlib.asynccontextmanager
async def _grpc_client(port: int, path: str, body: bytes):
    import grpc

    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

        async def ask() -> None:
            await call(body)

        yield ask


def _body(model: str, protocol: str) -> bytes:
    """One instance, the same each time."""
    rng = np.random.default_rng(0)
    inputs = {"image": rng.random((1, *IMAGE_SHAPE), dtype="float32")}
    if model == "diffusion":
        inputs["noise_level"] = np.array([0.4], "float32")
    if model == "gan":
        from trainer_modules.gan.config import GanConfig

        inputs = {"latent": rng.standard_normal((1, GanConfig().latent_size), dtype="float32")}
    if protocol == "gRPC":
        from serving.model_server.grpc_client import predict_request

        return predict_request(model, SIGNATURES[model], inputs).SerializeToString()
    import orjson

    document = {"signature_name": SIGNATURES[model], "inputs": inputs}
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


@contextlib.contextmanager
def _model_server(
    serving: Path, models: Sequence[str], batching: Path | None
) -> Iterator[tuple[psutil.Process, dict[str, int]]]:
    grpc_port, rest_port = free_ports(2)
    flags = [
        f"--model_config_file={write_config(serving, models).resolve()}",
        *(f"--port={grpc_port}", f"--rest_api_port={rest_port}"),
    ]
    own_flags = [f"--host={LOCAL}", "--enable_batching"]
    if batching:
        own_flags.append(f"--batching_parameters_file={batching}")
    with _running(command(flags, own_flags)) as process:
        yield process, {"REST": rest_port, "gRPC": grpc_port}


PLAIN = """
import sys
import tensorflow as tf
import uvicorn
from fastapi import FastAPI

model = tf.saved_model.load(sys.argv[1])
signature = model.signatures[sys.argv[3]]
app = FastAPI()

@app.post("/predict")
def predict(body: dict):
    inputs = {name: tf.constant(value, tf.float32) for name, value in body["inputs"].items()}
    outputs = signature(**inputs)
    return {"outputs": {name: value.numpy().tolist() for name, value in outputs.items()}}

print("Serving", flush=True)
uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
"""


@contextlib.contextmanager
def _plain_server(serving: Path, model: str) -> Iterator[tuple[psutil.Process, int]]:
    from serving.versions import newest_version

    [port] = free_ports(1)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "plain.py")
        script.write_text(PLAIN)
        version = newest_version(serving / model).path
        place = str(version.resolve())
        plain = [sys.executable, str(script), place, str(port), SIGNATURES[model]]
        with _running(plain) as process:
            while is_free(LOCAL, port):  # the line is printed before the port opens
                time.sleep(0.1)
            yield process, port


@contextlib.contextmanager
def _running(command: Sequence[str]) -> Iterator[psutil.Process]:
    """A process that has printed ``Serving``; ends with the block."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        line = process.stdout.readline()
        if "Serving" not in line:
            raise RuntimeError(f"{command[:3]} did not start: {line}")
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    sys.exit(main())
