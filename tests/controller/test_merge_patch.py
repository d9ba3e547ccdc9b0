"""Merge patches (RFC 7396), by an interpreter of their own."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reasonrl.controller.merge_patch import merge_patch

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=8,
)
OBJECT = st.dictionaries(st.sampled_from("pqr"), JSON, max_size=3)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


@given(old=OBJECT, new=OBJECT)
def test_a_merge_patch_leads_from_the_old_to_the_new_and_is_empty_when_they_are_the_same(old: Any, new: Any) -> None:
    old, new = without_nulls(old), without_nulls(new)
    patch = merge_patch(old, new)
    assert merged(old, patch) == new
    assert merge_patch(merged(old, patch), new) == {}
    assert merge_patch(new, new) == {}
