"""Records of the double of KFP's server: made, listed and checked as KFP's stores do."""

import datetime
import json
import uuid
from collections.abc import Mapping
from typing import Any


class Refused(Exception):
    """An answer with a status that is not 200."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def check_parameters(spec: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Refuses parameters that the spec does not declare, or lacks (v2_template.go:450)."""
    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    if not all(isinstance(value, str) for value in given.values()):
        raise Refused(400, "Every parameter of this pipeline is a STRING.")
    for name in given:
        if name not in declared:
            raise Refused(400, f"parameter {name} is not among the inputs of the pipeline")
    for name, parameter in declared.items():
        if name not in given and "defaultValue" not in parameter:
            raise Refused(400, f"parameter {name} has no value")


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def add(records: dict[str, Any], id_name: str, body: dict[str, Any]) -> dict[str, Any]:
    record = {"created_at": now(), **body, id_name: str(uuid.uuid4())}
    records[record[id_name]] = record
    return record


def page(records: dict[str, Any], name: str, query: dict[str, str]) -> dict[str, Any]:
    """A page of a list: fields that are empty are left out, so that no match is ``{}``."""
    found = _filtered(list(records.values()), query)
    begin, size = int(query.get("page_token") or 0), int(query.get("page_size") or 20)
    if not found:
        return {}
    answer = {name: found[begin : begin + size], "total_size": len(found)}
    is_last = begin + size >= len(found)
    return answer if is_last else {**answer, "next_page_token": str(begin + size)}


def _filtered(records: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    """Those that ``filter`` lets through: one predicate, EQUALS on a name."""
    if not query.get("filter"):
        return records
    [predicate] = json.loads(query["filter"])["predicates"]
    is_equals = predicate["operation"] in (1, "EQUALS")
    if not is_equals or predicate["key"] not in ("name", "display_name"):
        raise Refused(400, f"Unknown predicate {predicate} in the filter.")
    wanted = predicate.get("stringValue", predicate.get("string_value"))
    return [record for record in records if record.get(predicate["key"]) == wanted]
