"""A folder of its own to run ``inkwell`` in, and what a test asks of it afterwards."""

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
        # A home and a temporary folder of its own: a run leaves nothing in either.
        self.home, self.temporary = folder / "home", folder / "tmp"
        self.home.mkdir()
        self.temporary.mkdir()

    def command(self, *arguments: str) -> list[str]:
        return [
            *(sys.executable, "-m", "pipeline.cli.main", "run", "--profile", "smoke"),
            *("--output", str(self.output), "--set", f"serving_dir={self.serving}", *arguments),
        ]

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        command, env = self.command(*arguments), self.environment()
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env)

    def environment(self) -> dict[str, str]:
        """That of a process of this place."""
        places = {"HOME": str(self.home), "TMPDIR": str(self.temporary)}
        return {**environment(), **places}

    def last_result(self) -> dict:
        path = max((self.output / "smoke" / "runs").glob("*.json"))
        return json.loads(path.read_text())["result"]

    def states(self) -> dict[str, str]:
        return {node["id"]: node["state"] for node in self.last_result()["nodes"]}

    def versions(self) -> dict[str, list[str]]:
        return {model: sorted(os.listdir(self.serving / model)) for model in MODELS}


def environment() -> dict[str, str]:
    """As a user has it: nothing says where libraries keep their settings and caches."""
    ours = ("KERAS_HOME", "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
    known = {name: value for name, value in os.environ.items() if name not in ours}
    return {**known, "PYTHONPATH": str(ROOT)}
