"""A folder of its own to run ``inkwell`` in, and what a test asks of it afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

MODELS = ("autoencoder", "diffusion", "gan")


class Workplace:
    """A folder of its own to run ``inkwell`` in."""

    def __init__(self, folder: Path):
        self.output, self.serving = folder / "out", folder / "serving"

    def command(self, *arguments: str) -> list[str]:
        return [
            *(sys.executable, "-m", "pipeline.cli", "run", "--profile", "smoke"),
            *("--output", str(self.output), "--set", f"serving_dir={self.serving}", *arguments),
        ]

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        command = self.command(*arguments)
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment())

    def last_result(self) -> dict:
        path = max((self.output / "smoke" / "runs").glob("*.json"))
        return json.loads(path.read_text())["result"]

    def states(self) -> dict[str, str]:
        return {node["id"]: node["state"] for node in self.last_result()["nodes"]}

    def versions(self) -> dict[str, list[str]]:
        return {model: sorted(os.listdir(self.serving / model)) for model in MODELS}


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}
