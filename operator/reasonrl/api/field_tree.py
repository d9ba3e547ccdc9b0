"""The fields of a job as a tree: what `reasonrl explain`, the reference page and error messages know of them.

It is read from the JSON schema of the models, so none of the three can say anything else than what is checked.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.quantity import format_quantity


@dataclass(frozen=True, slots=True)
class Variant:
    """One kind of a field that comes in several, told apart by `type`."""

    tag: str
    description: str
    children: tuple[FieldNode, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldNode:
    """One field.

    `path` writes `[]` for "each item of the list". `default` is YAML text, None for a required field; `bounds` is empty when there are
    none. A field has children, or variants, or neither; `is_list` says that both are those of an item. `variant` is the type that the
    field belongs to, where its object comes in several.
    """

    path: str
    name: str
    type: str
    description: str
    default: str | None
    nullable: bool
    bounds: str
    is_list: bool
    choices: tuple[str, ...]
    children: tuple[FieldNode, ...]
    variants: tuple[Variant, ...]
    variant: str = ""

    @property
    def required(self) -> bool:
        return self.default is None


@cache
def field_tree() -> FieldNode:
    """The whole job; its path is empty."""
    schema = ReasoningRLJob.model_json_schema(by_alias=True, mode="validation")
    definitions: Mapping[str, Any] = schema["$defs"]
    return FieldNode(
        path="",
        name=ReasoningRLJob.__name__,
        type="object",
        description=schema["description"],
        default=None,
        nullable=False,
        bounds="",
        is_list=False,
        choices=(),
        children=_children("", schema, definitions),
        variants=(),
    )


def walk(node: FieldNode) -> Iterator[FieldNode]:
    """The node and everything below it, in the order of the spec."""
    yield node
    for child in node.children:
        yield from walk(child)
    for variant in node.variants:
        for child in variant.children:
            yield from walk(child)


def fields_at(node: FieldNode, parts: Sequence[str]) -> list[FieldNode]:
    """The fields that a path of names leads to, without list marks: none, one, or one for each type that has it. The name of a type may
    stand in the path."""
    if not parts:
        return [node]
    name, rest = parts[0], parts[1:]
    of_type = [
        replace(node, description=variant.description, children=variant.children, variants=(), variant=variant.tag)
        for variant in node.variants
        if variant.tag == name
    ]
    fields = [child for child in node.children if child.name == name]
    fields += [child for variant in node.variants for child in variant.children if child.name == name]
    return [each for below in (*of_type, *fields) for each in fields_at(below, rest)]


def fields_like(path: str) -> list[str]:
    """Paths that a user may have meant: like the whole path, or ending in the same name."""
    known = list(dict.fromkeys(node.path for node in walk(field_tree()) if node.path))
    plain = {each.replace("[]", ""): each for each in known}
    near = difflib.get_close_matches(path, plain, n=3, cutoff=0.8)
    last = path.rpartition(".")[2].replace("_", "").lower()
    near += [each for each in plain if each.rpartition(".")[2].lower() == last and each not in near]
    return (near or difflib.get_close_matches(path, plain, n=3, cutoff=0.5))[:4]


def _children(path: str, schema: Mapping[str, Any], definitions: Mapping[str, Any], *, variant: str = "") -> tuple[FieldNode, ...]:
    required = set(schema.get("required", ()))
    return tuple(
        replace(_field(f"{path}.{name}" if path else name, name, each, definitions, required=name in required), variant=variant)
        for name, each in schema.get("properties", {}).items()
    )


def _field(path: str, name: str, schema: Mapping[str, Any], definitions: Mapping[str, Any], *, required: bool) -> FieldNode:
    inner, nullable = _without_null(schema)
    inner = _resolved(inner, definitions)
    # A description equal to that of the field's own type is left out of the schema.
    description = schema.get("description") or inner.get("description", "")
    is_list = inner.get("type") == "array" and "items" in inner
    item = _resolved(inner["items"], definitions) if is_list else inner
    inside = f"{path}[]" if is_list else path
    variants = tuple(_variant(tag, inside, _resolved(option, definitions), definitions) for tag, option in _options(item))
    return FieldNode(
        path=path,
        name=name,
        type=_type(inner, definitions),
        description=description,
        default=None if required else _default(schema, inner),
        nullable=nullable,
        bounds=_bounds(inner),
        is_list=is_list,
        choices=tuple(str(choice) for choice in inner.get("enum", ())) or ((inner["const"],) if "const" in inner else ()),
        children=_children(inside, item, definitions),
        variants=variants,
    )


def _variant(tag: str, path: str, schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Variant:
    return Variant(tag, schema.get("description", ""), _children(path, schema, definitions, variant=tag))


def _without_null(schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    options = schema.get("anyOf")
    if options is None:
        return schema, False
    others = [option for option in options if option.get("type") != "null"]
    nullable = len(others) < len(options)
    return (others[0], nullable) if len(others) == 1 else ({**schema, "anyOf": others}, nullable)


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    resolved: Mapping[str, Any] = definitions[schema["$ref"].rpartition("/")[2]]
    return resolved


def _options(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Tags and schemas, in the order in which the spec declares them (the mapping itself is sorted by name)."""
    tags = {reference: tag for tag, reference in schema.get("discriminator", {}).get("mapping", {}).items()}
    for option in schema["oneOf"] if tags else ():
        yield tags[option["$ref"]], option


def _type(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    schema = _resolved(schema, definitions)
    kind = schema.get("type")
    if "enum" in schema or "const" in schema or kind == "string":
        return "text"
    if "discriminator" in schema:
        return "object, by its type: " + ", ".join(tag for tag, _ in _options(schema))
    if kind == "array":
        if "prefixItems" in schema:
            return f"list of {len(schema['prefixItems'])} numbers"
        return f"list of {_plural(_type(schema['items'], definitions))}"
    if kind == "object":
        return "object" if "properties" in schema else "mapping"
    if "anyOf" in schema:
        return "quantity of bytes"
    return {"integer": "integer", "number": "number", "boolean": "true or false", None: "any value"}[kind]


def _plural(kind: str) -> str:
    return kind.replace("object", "objects", 1) if kind.startswith("object") else kind + "s"


def _default(schema: Mapping[str, Any], inner: Mapping[str, Any]) -> str:
    if "default" not in schema:
        return "{}"
    value = schema["default"]
    return format_quantity(value) if "anyOf" in inner and isinstance(value, int) else yaml_value(value)


def yaml_value(value: object) -> str:
    """A value as it is written in YAML, on one line."""
    if isinstance(value, float) and value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e+")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _bounds(schema: Mapping[str, Any]) -> str:
    parts = []
    for key, words in (
        ("minimum", "at least"),
        ("exclusiveMinimum", "more than"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "less than"),
    ):
        if key in schema and not (key == "maximum" and schema[key] >= 2**31 - 1):
            parts.append(f"{words} {schema[key]:,}" if isinstance(schema[key], int) else f"{words} {schema[key]:g}")
    if "items" in schema and schema.get("minItems"):
        parts.append(f"at least {schema['minItems']} of them")
    return ", ".join(parts)
