"""Fingerprint of source code, so that a cached result never outlives the code that made it.

TFX's cache key covers inputs, parameters and the executor's spec, but not the code behind a
``run_fn`` or an executor; whoever edits ``model.py`` and runs again would be handed the old model.
On Kubeflow the container image is part of the key and does the same service.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def code_fingerprint(*packages: str) -> str:
    """Hash of every source file of ``packages`` (folders such as ``trainer_modules/gan``).

    Python files count by their syntax tree, so comments and layout change nothing; other files,
    such as a template or a schema, count byte for byte.

    Raises:
        FileNotFoundError: A package does not exist.
    """
    digest = hashlib.sha256()
    for package in sorted(packages):
        folder = ROOT / package
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no package {package} in {ROOT}.")
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0")
                digest.update(hashlib.sha256(_content(path)).digest())
    return digest.hexdigest()[:16]


def stamp_code(component: Any, *packages: str) -> Any:
    """Makes the code of ``packages`` part of the component's cache key; returns the component.

    The fingerprint travels as a flag of the executor, which TFX hashes and no executor reads, so
    stock components take it as well as our own.
    """
    component.executor_spec.add_extra_flags([f"--code={code_fingerprint(*packages)}"])
    return component


def _content(path: Path) -> bytes:
    if path.suffix != ".py":
        return path.read_bytes()
    return ast.dump(ast.parse(path.read_bytes())).encode()
