"""From pydantic models to the structural OpenAPI schema that the API server takes: no references, no alternatives, every bound kept.

What a structural schema cannot say becomes CEL rules at the same place: which fields go with which `type` where an object comes in several,
and how long the keys of a mapping may be. Nullable fields are plain optional ones, because the API server drops a null as if it were not
written, and each of them has null as its default. Defaults are left out: written by the server they would look like the job's own words,
and a blueprint could not fill them in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

LARGEST_EXACT = 2**53
"""Larger bounds are left to `format: int64`: the server reads bounds as floating-point numbers."""
_RESERVED = (
    *("as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package", "namespace", "return"),
    *("var", "void", "while"),
)
_COPIED = ("minLength", "maxLength", "pattern", "minItems", "maxItems", "minProperties", "maxProperties", "format")


def structural_schema(model: type[BaseModel]) -> Schema:
    """The schema of a model's objects."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _object(schema, schema.get("$defs", {}))


def add_rule(schema: Schema, *, rule: str, message: str, field: str = "", expression: str = "", reason: str = "FieldValueInvalid") -> None:
    """Adds a CEL rule to an object, list or mapping. `field` is the path below it that the error names; `expression` computes a message
    that shows values, and `message` stands in when it cannot."""
    made: Schema = {"rule": rule, "message": message}
    if expression:
        made["messageExpression"] = expression
    if field:
        made["fieldPath"] = f".{field}"
    if reason != "FieldValueInvalid":
        made["reason"] = reason
    schema.setdefault("x-kubernetes-validations", []).append(made)


def at_path(schema: Schema, path: str) -> Schema | None:
    """The schema at a path such as `phases[].until`, or None when there is no such field."""
    found: Any = schema
    for part in path.replace("[]", ".[]").split(".") if path else ():
        found = found.get("items") if part == "[]" else found.get("properties", {}).get(part)
        if found is None:
            return None
    node: Schema = found
    return node


def selected(name: str) -> str:
    """A field's name as CEL selects it: reserved words are escaped."""
    return f"__{name}__" if name in _RESERVED else name


def quoted(text: str) -> str:
    """A CEL string literal."""
    return json.dumps(text, ensure_ascii=False)


def _object(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    made: Schema = {"type": "object"}
    if "description" in schema:
        made["description"] = _one_line(schema["description"])
    if schema.get("required"):
        made["required"] = list(schema["required"])
    made["properties"] = {name: _field(each, definitions) for name, each in schema["properties"].items()}
    return made


def _field(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    inner = _without_null(schema)
    resolved = definitions[inner["$ref"].rpartition("/")[2]] if "$ref" in inner else inner
    made = _value(resolved, definitions)
    description = schema.get("description") or resolved.get("description")
    if description:
        made = {"type": made.pop("type"), "description": _one_line(description), **made} if "type" in made else made
        made["description"] = _one_line(description)
    return made


def _without_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    return options[0] if len(options) == 1 else schema


def _value(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    if "discriminator" in schema:
        return _union(schema, definitions)
    if "anyOf" in schema:
        return _number_or_text(schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return {"type": "string", "enum": list(schema.get("enum", [schema.get("const")]))}
    kind = schema.get("type")
    if kind == "array":
        return _list(schema, definitions)
    if kind == "object" and "properties" in schema:
        return _object(schema, definitions)
    if kind == "object":
        return _mapping(schema, definitions)
    if kind is None:
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return _scalar(schema)


def _scalar(schema: Mapping[str, Any]) -> Schema:
    made: Schema = {"type": schema["type"], **{key: schema[key] for key in _COPIED if key in schema}}
    if schema["type"] == "integer":
        made["format"] = "int64"
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in schema:
            made[bound], made[exclusive] = schema[exclusive], True
        elif bound in schema and abs(schema[bound]) <= LARGEST_EXACT:
            made[bound] = schema[bound]
    return made


def _number_or_text(options: Sequence[Mapping[str, Any]]) -> Schema:
    text = next(option for option in options if option["type"] == "string")
    return {"x-kubernetes-int-or-string": True, **{key: text[key] for key in _COPIED if key in text}}


def _list(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    made: Schema = {"type": "array"}
    made |= {key: schema[key] for key in ("minItems", "maxItems") if key in schema}
    items = schema["prefixItems"][0] if "prefixItems" in schema else schema["items"]
    made["items"] = _field(items, definitions)
    return made


def _mapping(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    # Where keys have a pattern, pydantic writes the values behind it.
    pattern, values = next(iter(schema.get("patternProperties", {}).items()), ("", schema.get("additionalProperties", {})))
    made: Schema = {"type": "object"}
    made |= {key: schema[key] for key in ("minProperties", "maxProperties") if key in schema}
    if "$ref" in values:  # The one type of values with a name is JsonValue, whose schema is empty.
        values = definitions[values["$ref"].rpartition("/")[2]]
    if not values:
        return {**made, "x-kubernetes-preserve-unknown-fields": True}
    made["additionalProperties"] = _field(values, definitions)
    keys = schema.get("propertyNames", {})
    if "maxLength" in keys:
        longest = keys["maxLength"]
        add_rule(made, rule=f"self.all(k, k.size() <= {longest})", message=f"a key is too long: at most {longest} characters")
    if pattern:
        add_rule(made, rule=f"self.all(k, k.matches({quoted(pattern)}))", message=f"a key must match {pattern}")
    return made


def _union(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Schema:
    """One object for all kinds: `type` says which, and rules say which fields go with it."""
    tags = {reference: tag for tag, reference in schema["discriminator"]["mapping"].items()}
    kinds = {tags[option["$ref"]]: definitions[option["$ref"].rpartition("/")[2]] for option in schema["oneOf"]}
    made: Schema = {"type": "object", "description": "Which fields it has follows from its type.", "required": ["type"]}
    made["properties"] = {
        "type": {
            "type": "string",
            "description": " ".join(f"{tag}: {_one_line(kind.get('description', ''))}" for tag, kind in kinds.items()),
            "enum": list(kinds),
        }
    }
    for name in dict.fromkeys(name for kind in kinds.values() for name in kind["properties"] if name != "type"):
        having = {tag: _field(kind["properties"][name], definitions) for tag, kind in kinds.items() if name in kind["properties"]}
        made["properties"][name] = _widest(having)
        if len(having) < len(kinds):
            add_rule(
                made,
                rule=f"!has(self.{selected(name)}) || self.type in [{', '.join(map(quoted, having))}]",
                message=f"{name} is read by type {' and '.join(having)} alone; remove it",
                field=name,
            )
        for rule in _needed(name, kinds):
            add_rule(made, **rule)
        for rule in _narrower(name, having, made["properties"][name]):
            add_rule(made, **rule)
    return made


def _needed(name: str, kinds: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    needing = [tag for tag, kind in kinds.items() if name in kind.get("required", ())]
    if needing:
        yield {
            "rule": f"!(self.type in [{', '.join(map(quoted, needing))}]) || has(self.{selected(name)})",
            "message": f"{name} is required for type {' and '.join(needing)}",
            "reason": "FieldValueRequired",
        }


def _narrower(name: str, having: Mapping[str, Schema], widest: Schema) -> Iterator[dict[str, str]]:
    """Lower bounds of a kind that are stricter than those of the others."""
    for tag, field in having.items():
        lowest = (field.get("minimum"), field.get("exclusiveMinimum", False))
        if field["type"] == "number" and lowest[0] is not None and lowest != (widest.get("minimum"), widest.get("exclusiveMinimum", False)):
            sign, words = (">", "more than") if lowest[1] else (">=", "at least")
            yield {
                "rule": f"self.type != {quoted(tag)} || !has(self.{selected(name)}) || self.{selected(name)} {sign} {float(lowest[0])!r}",
                "message": f"{name} of type {tag} must be {words} {lowest[0]:g}",
                "field": name,
            }


def _widest(having: Mapping[str, Schema]) -> Schema:
    """One schema that admits what each kind admits."""
    fields = list(having.values())
    made = dict(fields[0])
    lowest = min(fields, key=lambda field: (field.get("minimum", 0), field.get("exclusiveMinimum", False)))
    for bound in ("minimum", "exclusiveMinimum"):
        made.pop(bound, None)
        if bound in lowest:
            made[bound] = lowest[bound]
    if any("maximum" in field for field in fields):
        made["maximum"] = max(field["maximum"] for field in fields)
    descriptions: dict[str, list[str]] = {}
    for tag, field in having.items():
        descriptions.setdefault(field["description"], []).append(tag)
    if len(descriptions) > 1:
        made["description"] = " ".join(f"{', '.join(tags)}: {text}" for text, tags in descriptions.items())
    return made


def _one_line(text: str) -> str:
    return " ".join(text.split())
