"""An executable named ``tensorflow_model_server`` that records its arguments and ends."""

import os
from pathlib import Path

LAST_WORDS, STATUS = "no models in the fake server", 3


def install_fake(directory: Path, says: str = "") -> tuple[str, Path]:
    """Returns a PATH that finds it first, and the file of arguments that it writes when run.

    ``says`` is what it prints first, as shell commands.
    """
    directory.mkdir()
    record, binary = directory / "arguments", directory / "tensorflow_model_server"
    binary.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {record}\n{says}\necho {LAST_WORDS}\nexit {STATUS}\n',
        "utf-8",
    )
    binary.chmod(0o755)
    return f"{directory}{os.pathsep}{os.environ['PATH']}", record
