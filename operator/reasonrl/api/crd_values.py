"""Reading a job in CEL with its defaults: the API server does not write them into the object, so each rule fills in what is absent.

The defaults come from the models, so that a rule cannot know another one than a run does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from reasonrl.api.crd_schema import quoted, selected
from reasonrl.api.job import JobSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`rule` holds of every sound object at `at`, a path below the spec such as `phases[]`; `message` says what is wrong when it does not,
    and `expression`, where given, says it with values. `field`, below `at`, is what the error names."""

    at: str
    rule: str
    message: str
    field: str = ""
    expression: str = ""


def value(path: str, *, at: str = "", of: str = "self") -> str:
    """CEL for the value of `at.path`, or its default, where `of` stands for the object at `at`."""
    return f"{of}{optional(path)}.orValue({default(f'{at}.{path}'.removeprefix('.'))})"


def optional(path: str) -> str:
    """CEL for what may be absent at any place of the path."""
    return "".join(f".?{selected(part)}" for part in path.split("."))


@cache
def default(path: str) -> str:
    """The default of a field as a CEL literal; of a nullable one its empty list, text or object does not exist, so it has none."""
    schema = _field(path)
    found = schema["default"]
    numbers = _kinds(schema) == {"number"}
    if isinstance(found, bool):
        return str(found).lower()
    if isinstance(found, str):
        return quoted(found)
    if found in ([], ()):
        return "[]"
    return repr(float(found)) if numbers else str(found)


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    return {schema["type"]} if "type" in schema else {option.get("type", "") for option in schema.get("anyOf", ())} - {"null"}


def _field(path: str) -> Mapping[str, Any]:
    whole = JobSpec.model_json_schema(by_alias=True)
    definitions: Mapping[str, Any] = whole["$defs"]
    schema: Mapping[str, Any] = whole
    for part in path.replace("[]", "").split("."):
        schema = next(each["properties"][part] for each in _objects(schema, definitions) if part in each.get("properties", {}))
    return schema


def _objects(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The objects that a field may hold, past lists, references and null."""
    if "$ref" in schema:
        return _objects(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    inside = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *([schema["items"]] if "items" in schema else [])]
    return [schema] if "properties" in schema else [found for each in inside for found in _objects(each, definitions)]
