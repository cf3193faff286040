"""JSON as RapidJSON reads it with upstream's flags (ParseJson in util/json_tensor.cc).

Contract: NaN, Inf and Infinity are numbers, a byte-order mark is skipped, and so is whatever
follows the document. Of a key given twice, the first counts. Bytes of strings that are not UTF-8
stay as they are, as surrogates U+DC80 to U+DCFF. orjson reads what all parsers agree on.
"""

import base64
import codecs
import json
import re
from typing import Any

import orjson

from serving.model_server.errors import StatusError, invalid

_WITHOUT_SPACE = dict.fromkeys(map(ord, " \t\n\v\f\r"))
_SPACE = " \n\r\t"
# A string, or a number that only RapidJSON takes; both as a whole, so that none hides in the other.
_SPECIAL = re.compile(r'"(?:[^"\\]|\\.)*"|-?(?:Inf(?:inity)?(?!i)|NaN)', re.DOTALL)
_PLAIN = {"Inf": "Infinity", "-Inf": "-Infinity", "-NaN": "NaN"}
# A backslash and what belongs to it; the group is half of a surrogate pair.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F])|.)",
    re.DOTALL,
)


class Repeated(dict):
    """An object in which a key was given twice; it holds the first value of each."""


def parse(body: bytes) -> Any:
    """The document at the beginning of ``body``.

    Raises:
        StatusError: INVALID_ARGUMENT, in RapidJSON's words where they are the same in Python.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    if not body.strip(_SPACE.encode()):
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _parse_leniently(body)
    # orjson takes the last of a key's values; colons stand after keys, and in texts at most.
    if body.count(b":") != _keys(document):
        return _parse_leniently(body)
    return document


def unescape(text: str) -> bytes:
    """Base64 as abseil's Base64Unescape reads it: white space anywhere, padding or none.

    Raises:
        StatusError: INVALID_ARGUMENT.
    """
    packed = text.translate(_WITHOUT_SPACE)
    data = packed.rstrip("=.")
    missing = -len(data) % 4
    if missing == 3 or len(packed) - len(data) not in (0, missing):
        raise invalid("Unable to base64 decode")
    try:
        return base64.b64decode(data + "=" * missing, validate=True)
    except ValueError:
        raise invalid("Unable to base64 decode") from None


def _keys(document: Any) -> int:
    """How many keys the objects hold; objects are not looked for deeper than upstream allows."""
    if not isinstance(document, dict):
        return 0
    found = len(document)
    for value in document.values():
        if isinstance(value, dict):
            found += len(value) + sum(len(v) for v in value.values() if isinstance(v, dict))
        elif isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    found += len(item)
                    found += sum(len(inner) for inner in item.values() if isinstance(inner, dict))
    return found


def _parse_leniently(body: bytes) -> Any:
    text = body.decode("utf-8", "surrogateescape").lstrip(_SPACE)
    if r"\ud" in text.lower():
        for match in _ESCAPE.finditer(text):
            if match[1]:
                raise _failure("The surrogate pair in string is invalid.", match.start())
    if "Inf" in text or "NaN" in text:
        text = _SPECIAL.sub(lambda match: _PLAIN.get(match[0], match[0]), text)
    try:
        return _DECODER.raw_decode(text)[0]
    except json.JSONDecodeError as error:
        raise _failure("Invalid value.", error.pos) from None
    except RecursionError:
        raise invalid("JSON Parse error: The document is nested too deeply.") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    return Repeated(reversed(pairs))


def _number(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _failure("Number too big to be stored in double.", 0)
    return value


def _integer(text: str) -> int | float:
    """Beyond 64 bits a number is a float; long texts are not made integers, which takes long."""
    if len(text) <= 20 and -(2**63) <= (value := int(text)) < 2**64:
        return value
    return _number(text)


def _failure(words: str, position: int) -> StatusError:
    return invalid(f"JSON Parse error: {words} at offset: {position}")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_number, parse_int=_integer)
