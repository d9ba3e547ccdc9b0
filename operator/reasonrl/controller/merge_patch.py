"""The smallest JSON merge patch (RFC 7396) that turns one object into another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Empty where nothing differs. A merge patch cannot say null: a None in `new` means that the key is absent."""
    patch: dict[str, Any] = {}
    for key, value in new.items():
        before = old.get(key)
        if value is None:
            if before is not None:
                patch[key] = None
        elif isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := merge_patch(before, value):
                patch[key] = inner
        elif before is None or not _equal(before, value):
            patch[key] = _plain(value)
    for key, before in old.items():
        if key not in new and before is not None:
            patch[key] = None
    return patch


def _equal(one: Any, other: Any) -> bool:
    """As JSON has it: true is not 1, and a tuple is a list. An int equals the float of its value: the API server stores 1.0 as 1."""
    if type(one) is str or type(other) is str:
        return bool(one == other)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return not merge_patch(one, other)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(_equal(left, right) for left, right in zip(one, other, strict=True))
    return bool(one == other)


def _plain(value: Any) -> Any:
    """JSON's own types. Nulls within are left out, as the API server would drop them."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
