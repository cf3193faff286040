"""Fingerprint of source code, so that a cached result never outlives the code that made it.

TFX's cache key covers inputs, parameters and the executor's spec, but not the code behind a
``run_fn`` or an executor: without a fingerprint, a run after an edit of ``model.py`` would reuse
the old model. On Kubeflow the container image is part of the key and has the same effect.
"""

import ast
import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OURS = ("components", "core", "serving", "trainer_modules")


def stamp_code(component: Any, *modules: str) -> Any:
    """Makes the code of a component part of its cache key; returns the component.

    The code is that of its executor and of ``modules``, with all our modules that they import. The
    fingerprint is a flag of the executor, which TFX hashes and no executor reads, so it works for
    stock components too. A stock component without ``modules`` is unchanged.

    Args:
        component: A TFX component.
        modules: Modules that the executor does not import: that of a ``run_fn``, or one that is
            started as a process.
    """
    own = component.executor_spec.executor_class.__module__
    roots = [*modules, own] if own.split(".")[0] in OURS else modules
    if roots:
        component.executor_spec.add_extra_flags([f"--code={code_fingerprint(*roots)}"])
    return component


def code_fingerprint(*modules: str) -> str:
    """Hash of ``modules`` and all our modules that they import, directly or not.

    Python files count by their syntax tree, so comments and layout change nothing; other files next
    to them, such as a template or a schema, count byte for byte.

    Raises:
        FileNotFoundError: A module does not exist.
    """
    digest = hashlib.sha256()
    sources = source_files(modules)
    beside = {
        path
        for folder in {source.parent for source in sources}
        for path in folder.iterdir()
        if path.is_file() and path.suffix != ".py"
    }
    for path in sorted(sources | beside):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(_content(path)).digest())
    return digest.hexdigest()[:16]


def source_files(modules: Iterable[str]) -> set[Path]:
    """Files of ``modules`` and of all our modules that they import, also inside functions."""
    found: set[Path] = set()
    waiting = []
    for module in modules:
        if _file(module) is None:
            raise FileNotFoundError(f"There is no module {module} in {ROOT}.")
        waiting.append(module)
    while waiting:
        module = waiting.pop()
        path = _file(module)
        if path is None or path in found:
            continue
        found.add(path)
        waiting += _imports(path.read_bytes(), module, path.name == "__init__.py")
    return found


@functools.cache  # nodes share most of their files, and parsing takes nearly all of the time
def _imports(source: bytes, module: str, is_package: bool) -> tuple[str, ...]:
    """Names of our modules that ``source`` imports, and of their packages."""
    package = module if is_package else module.rpartition(".")[0]
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            # A name imported from a package may be a module.
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] in OURS:
                found += (".".join(parts[: i + 1]) for i in range(len(parts)))
    return tuple(dict.fromkeys(found))


def _file(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    candidates = (base / "__init__.py", base.with_name(f"{base.name}.py"))
    return next((path for path in candidates if path.is_file()), None)


def _content(path: Path) -> bytes:
    source = path.read_bytes()
    return _syntax(source) if path.suffix == ".py" else source


@functools.cache
def _syntax(source: bytes) -> bytes:
    """The syntax tree of ``source`` as text, without positions."""
    return ast.dump(ast.parse(source)).encode()
