"""JSON Schema of profiles and of ``cluster.yaml``, for completion and checks in editors.

Contract: what a schema refuses ``inkwell`` refuses too; what several settings must be together,
``inkwell`` alone knows. A description is the comment at the field.
"""

import inspect
import re
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from pipeline.config import RunConfig
from pipeline.kubeflow.cluster import DATA_DIGEST, Cluster
from pipeline.plan import NODES


def profile_schema() -> dict[str, Any]:
    """What a file in ``pipeline/profiles`` may hold."""
    return {"$schema": _Described.schema_dialect, **_schema(RunConfig)}


def cluster_schema() -> dict[str, Any]:
    """What a file for ``--cluster`` may hold, in which only what differs needs to stand."""
    schema = _schema(Cluster)
    for part in (schema, *schema["$defs"].values()):
        part.pop("required", None)
    schema["properties"]["nodes"] |= {
        "propertyNames": {"enum": [DATA_DIGEST, *NODES]},
        "additionalProperties": {"$ref": "#/$defs/Pod"},
    }
    return {"$schema": _Described.schema_dialect, **schema}


def _schema(cls: Any) -> dict[str, Any]:
    return TypeAdapter(cls).json_schema(schema_generator=_Described)


class _Described(GenerateJsonSchema):
    """Describes each field by its comment, those of base classes first."""

    def dataclass_schema(self, schema):
        made = super().dataclass_schema(schema)
        for cls in schema["cls"].__mro__:
            for name, comment in _comments(cls).items():
                part = made["properties"][name]
                texts = (comment, part.get("description", ""))  # a type may have words of its own
                part["description"] = " ".join(f"{t[0].upper()}{t[1:]}" for t in texts if t)
        return made


def _comments(cls: type) -> dict[str, str]:
    """The comment at every field that ``cls`` itself declares: above it, or behind it."""
    try:
        lines = inspect.getsource(cls).splitlines()
    except (OSError, TypeError):  # made at run time, or built in
        return {}
    found, words = {}, []
    for line in lines:
        field = re.match(r" {4}(\w+): ", line)
        if comment := re.search(r"(?:^ {4}|  )# (.*)", line):
            words.append(comment[1])
        if field and words:
            found[field[1]] = " ".join(words).rstrip(".") + "."
        if field or not comment:
            words = []
    return found


SCHEMAS = {"profile": profile_schema, "cluster": cluster_schema}
