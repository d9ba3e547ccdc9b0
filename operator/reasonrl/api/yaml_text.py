"""Writes plain data as block YAML, so that the contract's files can be made with the standard library alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

_PLAIN = re.compile(r"[A-Za-z_/][-A-Za-z0-9_./$]*")
_OTHER_MEANINGS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "none"}


def yaml_text(value: Mapping[str, object]) -> str:
    """One YAML document. Values are mappings with text keys, lists, printable text, finite numbers, booleans and None."""
    return "\n".join(_mapping(value, "")) + "\n"


def _mapping(value: Mapping[str, object], indent: str) -> Iterator[str]:
    for key, each in value.items():
        yield from _entry(f"{indent}{_scalar(key)}:", each, f"{indent}  ")


def _list(value: Sequence[object], indent: str) -> Iterator[str]:
    for each in value:
        if isinstance(each, Mapping) and each:
            first, *rest = _mapping(each, f"{indent}  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest
        else:
            yield from _entry(f"{indent}-", each, f"{indent}  ")


def _entry(head: str, value: object, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        yield head
        yield from _mapping(value, indent)
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        yield head
        yield from _list(value, indent)
    else:
        yield f"{head} {_scalar(value)}"


def _scalar(value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _OTHER_MEANINGS:
        return value
    if isinstance(value, float):
        mantissa, _, exponent = repr(value).partition("e")
        # YAML 1.1 takes a number with an exponent for text unless it has a point.
        return f"{mantissa if '.' in mantissa else f'{mantissa}.0'}e{exponent}" if exponent else mantissa.removesuffix(".0")
    return json.dumps(value, ensure_ascii=False)
