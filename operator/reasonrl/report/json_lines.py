"""Reads JSON lines that another process may be writing, or died writing: what is whole is read, what is not is counted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LinesRead:
    """`torn` is true when the last line has no end (a run is writing it, or was killed there); `broken` counts the others that are
    not JSON objects."""

    objects: list[dict[str, object]]
    torn: bool
    broken: int


def read_json_lines(path: Path) -> LinesRead:
    """A file that is not there has no lines. Raises OSError for one that cannot be read."""
    if not path.exists():
        return LinesRead(objects=[], torn=False, broken=0)
    *whole, last = path.read_bytes().split(b"\n")
    objects, broken = [], 0
    for line in whole:
        if not line.strip():
            continue
        try:
            parsed = json.loads(line)
        except ValueError:
            broken += 1
            continue
        if isinstance(parsed, dict):
            objects.append(parsed)
        else:
            broken += 1
    return LinesRead(objects=objects, torn=bool(last.strip()), broken=broken)
