"""Quantities of bytes, as Kubernetes writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.api.quantity import format_quantity, parse_quantity, readable_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("50Gi", 53_687_091_200),
        ("512Mi", 536_870_912),
        ("1.5G", 1_500_000_000),
        ("0.5Ki", 512),
        ("128k", 128_000),
        ("7", 7),
        (7, 7),
        ("2Ti", 2_199_023_255_552),
    ],
)
def test_units_are_those_of_kubernetes(text: object, size: int) -> None:
    assert parse_quantity(text) == size


@pytest.mark.parametrize("wrong", ["50GB", "1.5", "0.1", "Gi", "-1Gi", "1e3", "", "5 Gi", None, True, 1.5, "1ki"])
def test_anything_else_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"unit|quantity|whole number"):
        parse_quantity(wrong)


@given(st.integers(min_value=1, max_value=2**62))
def test_formatting_is_exact(size: int) -> None:
    assert parse_quantity(format_quantity(size)) == size


@given(st.integers(min_value=1, max_value=999), st.sampled_from(["Ki", "Mi", "Gi", "Ti"]))
def test_a_quantity_comes_back_as_it_was_written(number: int, unit: str) -> None:
    assert format_quantity(parse_quantity(f"{number}{unit}")) == f"{number}{unit}"


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (80 * 2**30, "80 GiB"), (1010 * 2**30, "1010 GiB")]
)
def test_readable_sizes(size: int, words: str) -> None:
    assert readable_bytes(size) == words
