"""What the schema refuses, in words that name the field as the user wrote it and say what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence

from pydantic_core import ErrorDetails

from reasonrl.api.field_tree import FieldNode, field_tree, walk
from reasonrl.api.problems import Problem

_MOST_LISTED = 12

Place = tuple[str | int, ...]
"""Keys and list indices from the job down to a value."""

_DNS_LABEL = "use lower-case letters, digits and dashes, beginning and ending with a letter or digit"
_KINDS = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is too large",
    "float_type": "must be a number",
    "string_type": "must be text",
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "finite_number": "must be a finite number",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def problems_of(errors: Sequence[ErrorDetails]) -> list[Problem]:
    """The errors of the schema as problems, in the order of the spec."""
    places = [without_tags(error["loc"]) for error in errors]
    # A list counts only its sound items: that it has too few of them follows from the errors of the others.
    follows = [
        error["type"] == "too_short" and any(_inside(other, place) for other in places) for error, place in zip(errors, places, strict=True)
    ]
    return [_problem_of(error) for error, redundant in zip(errors, follows, strict=True) if not redundant]


def _inside(place: Place, container: Place) -> bool:
    return len(place) > len(container) and place[: len(container)] == container


def _problem_of(error: ErrorDetails) -> Problem:
    place = without_tags(error["loc"])
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    path = field_path(place)
    if kind == "extra_forbidden":
        return Problem(path, value, _unknown_field(place))
    if kind == "missing":
        node = _node(place)
        return Problem(path, None, f"is required: {_first_sentence(node.description) if node else 'give it'}")
    if kind == "union_tag_not_found":
        return Problem(f"{path}.type", None, f"is required: one of {', '.join(_tags(place))}")
    if kind == "union_tag_invalid":
        return Problem(
            f"{path}.type", context["tag"], f"must be one of {', '.join(_tags(place))}{_did_you_mean(context['tag'], _tags(place))}"
        )
    if kind == "literal_error":
        node = _node(place)
        choices = node.choices if node else ()
        return Problem(path, value, f"must be {_alternatives(choices)}{_did_you_mean(value, choices)}")
    return Problem(path, value, _message(kind, context, value, place, error["msg"]))


def without_tags(location: Sequence[str | int]) -> Place:
    """The place in the file. pydantic puts the type of an item that comes in several into its location; the file does not."""
    place: list[str | int] = []
    options: Mapping[str, Mapping[str, FieldNode]] = {}
    fields: Mapping[str, FieldNode] = _by_name(field_tree().children)
    for part in location:
        if options and part in options:
            fields, options = options[str(part)], {}
            continue
        place.append(part)
        if isinstance(part, str):
            node = fields.get(part)
            fields = _by_name(node.children) if node else {}
            options = {variant.tag: _by_name(variant.children) for variant in node.variants} if node else {}
    return tuple(place)


def field_path(place: Sequence[str | int]) -> str:
    """`spec.phases[1].maxResponseTokens`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".") or "the job"


def close_matches(name: str, names: Iterable[str]) -> list[str]:
    """Names that a user may have meant, the likeliest first; case and underscores do not count."""
    plain = {_plain(each): each for each in names}
    return [plain[each] for each in difflib.get_close_matches(_plain(name), plain, n=3, cutoff=0.6)]


def suggested_siblings(place: Place) -> list[str]:
    """Fields of the same object that an unknown field may have been meant for."""
    return close_matches(str(place[-1]), _siblings(place))


def _message(kind: str, context: Mapping[str, object], value: object, place: Place, otherwise: str) -> str:
    if value is None and kind in _KINDS:
        return f"is empty: it {_KINDS[kind]}; give a value, or remove the line for the default"
    if kind in _KINDS:
        return _KINDS[kind] + _hint(kind, value, place)
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"must be {words} {context[key]}"
    simple: dict[str, Callable[[], str]] = {
        "value_error": lambda: str(context["error"]),
        "string_pattern_mismatch": lambda: _DNS_LABEL if "[a-z0-9]([-" in str(context["pattern"]) else f"must match {context['pattern']}",
        "string_too_short": lambda: "must not be empty",
        "string_too_long": lambda: f"is too long: at most {context['max_length']} characters",
        "too_short": lambda: f"needs at least {context['min_length']}; this has {context['actual_length']}",
        "too_long": lambda: f"has too many: at most {context['max_length']}, this has {context['actual_length']}",
    }
    return simple[kind]() if kind in simple else otherwise


def _hint(kind: str, value: object, place: Place) -> str:
    if isinstance(value, str) and kind in ("int_type", "float_type"):
        try:
            float(value)
        except ValueError:
            return "; write digits alone, without a unit"
        return f"; this is text: write {value} without quotes"
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        node = _node(place)
        names = [child.name for child in node.children] if node else []
        return f" with fields such as {', '.join(names[:4])}" if names else ""
    if kind == "tuple_type" and value is not None:
        return ": put - in front of each item, or [ ] around them"
    return ""


def _unknown_field(place: Place) -> str:
    name = str(place[-1])
    # One of the same name belongs to another type of the same list.
    near = [each for each in suggested_siblings(place) if each != name]
    if near:
        return f"there is no such field; did you mean {' or '.join(near)}?"
    elsewhere = _elsewhere(name)
    if elsewhere:
        return f"there is no such field here; there is {', '.join(elsewhere[:3])}"
    siblings, where = _siblings(place), field_path(place[:-1])
    if len(siblings) > _MOST_LISTED:
        return f"there is no such field; reasonrl explain {where} lists those that there are"
    return f"there is no such field; {where} has {', '.join(siblings)}" if siblings else "there is no such field"


def _elsewhere(name: str) -> list[str]:
    """Paths of fields of the whole job that are called so, alone or with the object that they are in."""
    names: dict[str, list[str]] = {}
    for node in walk(field_tree()):
        for called in (node.name, "".join(node.path.replace("[]", "").split(".")[-2:])):
            names.setdefault(_plain(called), []).append(node.path)
    near = difflib.get_close_matches(_plain(name), names, n=1, cutoff=0.85)
    return list(dict.fromkeys(names[near[0]])) if near else []


def _siblings(place: Place) -> list[str]:
    parent = _node(place[:-1])
    if parent is None:
        return []
    names = [child.name for child in parent.children]
    return list(dict.fromkeys([*names, *(child.name for variant in parent.variants for child in variant.children)]))


def _node(place: Place) -> FieldNode | None:
    """The field at a place; where items come in several types, the first of them that has it."""
    node = field_tree()
    for part in place:
        if isinstance(part, int):
            continue
        found = [*node.children, *(child for variant in node.variants for child in variant.children)]
        below = next((child for child in found if child.name == part), None)
        if below is None:
            return None
        node = below
    return node


def _tags(place: Place) -> list[str]:
    node = _node(place)
    return [variant.tag for variant in node.variants] if node else []


def _by_name(nodes: Iterable[FieldNode]) -> dict[str, FieldNode]:
    return {node.name: node for node in nodes}


def _alternatives(choices: Sequence[str]) -> str:
    return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"


def _did_you_mean(value: object, choices: Sequence[str]) -> str:
    near = close_matches(value, choices) if isinstance(value, str) and len(choices) > 1 else []
    return f"; did you mean {near[0]}?" if near else ""


def _first_sentence(text: str) -> str:
    return text.split(". ")[0].rstrip(".")


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
