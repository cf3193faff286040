"""The schema of a data directory: ``schema.pbtxt`` in it, or the generic one in this folder.

Contract: a schema says what the data must be: types, ranges, classes, and the limits of the
comparators. Both the baseline and the gate build on this module, which imports neither.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from google.protobuf import text_format

from components.idx_example_gen import idx, storage
from core.config import InputError

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import schema_pb2

SCHEMA_FILE = "schema.pbtxt"
UNKNOWN_MAX_LABEL = 255  # the generic schema's: as many classes as the data holds

_GENERIC_SCHEMA = os.path.join(os.path.dirname(__file__), SCHEMA_FILE)


def read_schema(data_dir: str) -> schema_pb2.Schema:
    """Reads the schema of ``data_dir``, or the generic one with the classes of its labels.txt.

    Raises:
        InputError: The directory's schema.pbtxt is not a TensorFlow Metadata schema.
    """
    from tensorflow_metadata.proto.v0 import schema_pb2

    text = read_text(data_dir, SCHEMA_FILE)
    if text is not None:
        return parse(text, schema_pb2.Schema(), storage.join(data_dir, SCHEMA_FILE))
    with open(_GENERIC_SCHEMA, encoding="utf-8") as file:
        schema = parse(file.read(), schema_pb2.Schema(), _GENERIC_SCHEMA)
    names = idx.read_label_names(data_dir)
    if names is not None:
        label_domain(schema).max = len(names) - 1
    return schema


def label_domain(schema: schema_pb2.Schema) -> schema_pb2.IntDomain:
    """The domain of the label: its classes are ``min`` to ``max``."""
    return next(f for f in schema.feature if f.name == "label").int_domain


def without_image(schema: schema_pb2.Schema) -> schema_pb2.Schema:
    """A copy of ``schema`` for statistics of ``compute_statistics``, which omit the pixels."""
    copy = type(schema)()
    copy.CopyFrom(schema)
    copy.feature.remove(next(f for f in copy.feature if f.name == "image"))
    return copy


def read_text(data_dir: str, name: str) -> str | None:
    """Text of the file ``name`` in ``data_dir``, or None if there is no such file."""
    path = storage.join(data_dir, name)
    return storage.read_bytes(path).decode("utf-8") if storage.exists(path) else None


def parse(text: str, message, path: str):
    """Fills the protocol buffer ``message`` from ``text`` and returns it.

    Raises:
        InputError: The text of ``path`` is not the text form of such a message.
    """
    try:
        return text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise InputError(
            f"{path} is not the text form of a {message.DESCRIPTOR.name} ({error}); fix that "
            "line or remove the file."
        ) from None
