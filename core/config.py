"""Strict configs: unknown keys, wrong types and bad ranges are one clear sentence each.

Every config in Inkwell is a frozen dataclass of pydantic with ``STRICT``: its types say what is
allowed, ``__post_init__`` checks what several fields must be together, and ``from_dict`` builds it
from YAML, JSON or command-line overrides. Imports nothing heavy.
"""

import difflib
import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

T = TypeVar("T")
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]

# What pydantic's errors, and keywords of JSON Schema, require of a value.
_TYPES = {
    **{f"{kind}_type": f"of type {kind}" for kind in ("int", "float", "bool")},
    "string_type": "of type str",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "finite_number": "finite",
}
_RANGES = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "multipleOf": "a multiple of",
    "minItems": "a list of at least",
    "minProperties": "a mapping of at least",
}


class InputError(ValueError):
    """A user's mistake in one sentence: what is wrong, where, and how to fix it.

    Several mistakes are a line each.
    """


class DivergedError(RuntimeError):
    """The loss is no longer a number; training stopped and nothing was exported."""


def from_dict(cls: type[T], mapping: Mapping[str, Any], where: str = "", source: str = "") -> T:
    """Builds the dataclass ``cls`` from ``mapping``, nested dataclasses and lists of them included.

    Args:
        cls: A dataclass type.
        mapping: Field values as YAML and JSON have them: a list for a tuple, an int for a
            float. Fields that are left out take their defaults.
        where: Dotted place of ``mapping`` in the whole config, for the error sentences.
        source: File or profile that ``mapping`` comes from; begins each sentence.

    Raises:
        InputError: Unknown keys, missing values, wrong types, or values that the class refuses.
    """
    adapter = TypeAdapter(cls)
    given = json.dumps(mapping, default=str)  # pydantic's strict types allow a list in JSON alone
    try:
        return adapter.validate_json(given, strict=True, extra="forbid")
    except ValidationError as error:
        schema = adapter.json_schema()
        told = "\n".join(_sentence(schema, each, where, mapping) for each in error.errors())
    raise InputError(textwrap.indent(told, f"{source}: ") if source else told)


def require(condition: bool, sentence: str) -> None:
    """Raises ``InputError(sentence)`` unless ``condition`` holds."""
    if not condition:
        raise InputError(sentence)


def unknown(path: str, known: Sequence[str]) -> str:
    """The sentence about a setting that does not exist, with the one that may be meant."""
    hint = suggest(path.rpartition(".")[2], known)
    return f"Unknown setting {path}{hint}; valid settings: {', '.join(sorted(known))}."


def suggest(word: str, known: Sequence[str]) -> str:
    """In brackets, the one of ``known`` that ``word`` is nearly; empty if it is none."""
    close = difflib.get_close_matches(word.lower(), known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _sentence(
    schema: dict[str, Any], error: Mapping[str, Any], where: str, given: Mapping[str, Any]
) -> str:
    """One mistake that pydantic found, with what the JSON schema of the config allows there."""
    kind, steps = error["type"], error["loc"]
    path = f"{where}{_path(steps, given)}".removeprefix(".")
    if kind == "value_error":  # from a function that checks, such as __post_init__
        return f"{path}: {error['ctx']['error']}" if path else str(error["ctx"]["error"])
    if kind == "missing":
        return f"Setting {path} is missing."
    if kind == "unexpected_keyword_argument":
        return unknown(path, list(_part(schema, steps[:-1])["properties"]))
    allowed = _allowed(_part(schema, steps), kind)
    path = path or schema["title"]
    asked = f"must be {allowed}" if allowed else f"is refused: {error['msg']}"
    return f"{path} {asked}, not {error['input']!r}."


def _path(steps: Sequence[str | int], given: Any) -> str:
    """The place in ``given``: items of lists by their ``metric``, if they have one."""
    path = ""
    for step in steps:
        try:
            given = given[step]
        except (KeyError, IndexError, TypeError):  # what is missing or of a wrong kind
            given = None
        name = given.get("metric") if isinstance(step, int) and isinstance(given, dict) else None
        path += f".{name}" if name else f"[{step}]" if isinstance(step, int) else f".{step}"
    return path


def _part(schema: dict[str, Any], steps: Sequence[str | int]) -> dict[str, Any]:
    """The part of a JSON schema about the value that ``steps`` lead to, null apart."""
    part: Any = schema
    for step in (*steps, None):
        if "anyOf" in part:  # the one that is not null
            part = {**part["anyOf"][0], "or_null": True}
        if "$ref" in part:
            part = {**part, **schema["$defs"][part["$ref"].rpartition("/")[2]]}
        if isinstance(step, int):
            part = part.get("items", {})
        elif step is not None:
            part = part.get("properties", {}).get(step) or part["additionalProperties"]
    return part


def _allowed(part: dict[str, Any], kind: str) -> str:
    """What a value may be: its type where ``kind`` says that this is wrong, else its range."""
    if kind in _TYPES:
        words = _TYPES[kind]
    elif "properties" in part:
        words = f"a group of settings ({', '.join(part['properties'])})"
    elif "enum" in part:
        *others, last = (choice or "empty" for choice in part["enum"])
        words = f"{', '.join(others)} or {last}"
    elif "description" in part:
        words = part["description"]
    elif "minimum" in part and "maximum" in part:
        words = f"between {part['minimum']} and {part['maximum']}"
    else:
        words = " and ".join(f"{text} {part[key]}" for key, text in _RANGES.items() if key in part)
    return f"null or {words}" if part.get("or_null") else words
