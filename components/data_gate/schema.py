"""The schema of a data directory: ``schema.pbtxt`` in it, or the generic one in this folder.

Contract: a schema says what the data must be: types, ranges, classes, and the limits of the
comparators. Both the baseline and the gate build on this module, which imports neither.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from google.protobuf import text_format

from components.idx_example_gen import data, storage
from core.config import InputError
from core.statistics import LABEL_NAME

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import schema_pb2

SCHEMA_FILE = "schema.pbtxt"
_LABEL_NAME_FEATURE = f"""
feature {{
  name: "{LABEL_NAME}"
  type: BYTES
  presence {{ min_fraction: 1.0 min_count: 1 }}
  shape {{ }}
}}
"""
UNKNOWN_MAX_LABEL = 255  # the generic schema's: as many classes as the data holds

_GENERIC_SCHEMA = os.path.join(os.path.dirname(__file__), SCHEMA_FILE)


def read_schema(data_dir: str) -> schema_pb2.Schema:
    """Reads the schema of ``data_dir``, or the generic one with the classes of its labels.txt.

    Where the classes have names, the examples have one more feature, which is added.

    Raises:
        InputError: The directory's schema.pbtxt is not a TensorFlow Metadata schema, or lacks what
            the gate reads of it: the image, the label, and the label's classes.
    """
    from tensorflow_metadata.proto.v0 import schema_pb2

    text, path = read_text(data_dir, SCHEMA_FILE), storage.join(data_dir, SCHEMA_FILE)
    if text is None:
        path = _GENERIC_SCHEMA
        with open(path, encoding="utf-8") as file:
            text = file.read()
    schema = parse(text, schema_pb2.Schema(), path)
    _check_label(schema, path)
    names = data.class_names(data_dir)
    if names is not None:
        if path == _GENERIC_SCHEMA:
            label_domain(schema).max = len(names) - 1
        if all(feature.name != LABEL_NAME for feature in schema.feature):
            parse(_LABEL_NAME_FEATURE, schema, LABEL_NAME)
    return schema


def _check_label(schema: schema_pb2.Schema, path: str) -> None:
    """As SchemaGen writes it, or cut by hand, a schema may lack what the gate reads of it."""
    features = {feature.name: feature for feature in schema.feature}
    for name in ("image", "label"):
        if name not in features:
            raise InputError(
                f"{path} has no feature {name}; copy it from {_GENERIC_SCHEMA}, or remove the file."
            )
    domain = features["label"].int_domain
    if not (domain.is_categorical and domain.HasField("min") and 0 <= domain.min < domain.max):
        raise InputError(
            f'The label of {path} needs int_domain {{ name: "label" min: 0 max: 9 is_categorical: '
            "true }, with the lowest and the highest class of the data; write it so."
        )


def relax(schema: schema_pb2.Schema, allow: Sequence[str]) -> schema_pb2.Schema:
    """Takes from ``schema`` what known blank or few images would break, as ``data.allow`` does."""
    if "blank" in allow:
        for feature in schema.feature:
            if feature.name == "mean_intensity":
                feature.float_domain.min, feature.float_domain.max = 0, 1
    if "few" in allow:
        schema.dataset_constraints.ClearField("min_examples_count")
    return schema


def label_domain(schema: schema_pb2.Schema) -> schema_pb2.IntDomain:
    """The domain of the label: its classes are ``min`` to ``max``."""
    return next(f for f in schema.feature if f.name == "label").int_domain


def without_image(schema: schema_pb2.Schema) -> schema_pb2.Schema:
    """A copy of ``schema`` for statistics without pixels and names, as ``compute_statistics``'."""
    return without(schema, "image", LABEL_NAME)


def without(schema: schema_pb2.Schema, *names: str) -> schema_pb2.Schema:
    """A copy of ``schema`` without the features of these names."""
    copy = type(schema)()
    copy.CopyFrom(schema)
    for feature in [f for f in copy.feature if f.name in names]:
        copy.feature.remove(feature)
    return copy


def read_text(data_dir: str, name: str) -> str | None:
    """Text of the file ``name`` in ``data_dir``, or None if there is no such file.

    Raises:
        InputError: The file cannot be read, or is not UTF-8.
    """
    path = storage.join(data_dir, name)
    if not storage.exists(path):
        return None
    try:
        return storage.read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; save it as UTF-8.") from None


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
