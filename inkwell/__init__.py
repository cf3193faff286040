"""Inkwell from Python: run the pipeline, read its results, use the models it pushed.

import inkwell
run = inkwell.run("smoke")
run.metrics["gan"]["fd_over_floor"].value
inkwell.load("gan").generate(count=64, seed=1)
"""

from core.config import InputError
from inkwell.images import read_images, show
from inkwell.models import Model, load
from inkwell.runs import Run, find, run, runs
from serving.errors import ServingError

__all__ = [
    "InputError",
    "Model",
    "Run",
    "ServingError",
    "find",
    "load",
    "read_images",
    "run",
    "runs",
    "show",
]
