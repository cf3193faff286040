"""Settings of the serving check; imports nothing heavy."""

from typing import Annotated

from pydantic import Field, PositiveFloat
from pydantic.dataclasses import dataclass

from core.config import STRICT


@dataclass(frozen=True, config=STRICT)
class ServingCheckConfig:
    """How a candidate is queried on a real model server, and what it must hold."""

    images: Annotated[int, Field(ge=2, le=1024)] = 16  # in the larger batch; the other is 1
    generate_count: Annotated[int, Field(ge=1, le=64)] = 4  # `count`, where images are generated
    generate_steps: Annotated[int, Field(ge=1, le=100)] = 4  # `steps` there; servers take 100
    # Server against in-process, of max(1, |value|); CPUs differ by 1e-6.
    tolerance: Annotated[float, Field(gt=0, le=0.1)] = 1e-5
    latency_requests: Annotated[int, Field(ge=3, le=10_000)] = 20  # per signature, fewer if slow
    max_latency_ms: PositiveFloat = 1000.0  # median of the single requests of every signature
    start_timeout_s: PositiveFloat = 180.0  # process start to AVAILABLE; TensorFlow takes 5 to 30 s
    max_memory_mib: PositiveFloat = 3072.0  # of the server; Python's own takes some 700 of it
    request_timeout_s: PositiveFloat = 60.0  # deadline of one request, the cold first included
    tensorflow_serving: bool = False  # ask tensorflow_model_server (on PATH) instead of our server
