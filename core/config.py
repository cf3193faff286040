"""Strict dataclass configs: unknown keys, wrong types and bad ranges are one clear sentence.

Every config in Inkwell is a frozen dataclass that checks its own ranges in ``__post_init__`` and
is built by ``from_dict`` from YAML, JSON or command-line overrides. Imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """A user's mistake, told in one sentence: what is wrong, where, and how to mend it."""


class DivergedError(RuntimeError):
    """The loss is no longer a number; training stopped and nothing was exported."""


def from_dict(cls: type[T], mapping: Mapping[str, Any], where: str = "") -> T:
    """Builds the dataclass ``cls`` from ``mapping``, nested dataclasses and lists of them included.

    Args:
        cls: A dataclass type.
        mapping: Field values; fields that are left out take their defaults.
        where: Dotted place of ``mapping`` in the whole config, for the error sentence.

    Raises:
        InputError: An unknown key, a missing value, a wrong type, or a range the class refuses.
    """
    if not isinstance(mapping, Mapping):
        raise InputError(f"{where or cls.__name__} must be a mapping, not {mapping!r}.")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    prefix = f"{where}." if where else ""
    for key in mapping:
        if key not in fields:
            raise InputError(
                f"Unknown setting {prefix}{key}; known are {', '.join(sorted(fields))}."
            )
    values = {k: _convert(hints[k], v, f"{prefix}{k}") for k, v in mapping.items()}
    for name, f in fields.items():
        no_default = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if no_default and name not in values:
            raise InputError(f"Setting {prefix}{name} is missing.")
    try:
        return cls(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}" if where else str(error)) from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Checks ``value`` against the type ``hint``; an int is accepted where a float is asked."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else from_dict(hint, value, where)
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            raise InputError(f"{where} must be a list, not {value!r}.")
        return origin(_convert(args[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise InputError(f"{where} must be a mapping, not {value!r}.")
        return {k: _convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (bool, int, float, str):
        if type(value) is not hint:
            raise InputError(f"{where} must be of type {hint.__name__}, not {value!r}.")
        return value
    return value


def require(condition: bool, sentence: str) -> None:
    """Raises ``InputError(sentence)`` unless ``condition`` holds."""
    if not condition:
        raise InputError(sentence)
