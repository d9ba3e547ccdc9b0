"""A small job for tests without an operator: how it is written, edited, and compared with what the server keeps."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

STRICT = {"fieldValidation": "Strict"}
JOBS = "reasoningrljobs"


def minimal(name: str = "first") -> dict[str, Any]:
    return {
        "apiVersion": "reasonrl.dev/v1alpha1",
        "kind": "ReasoningRLJob",
        "metadata": {"name": name},
        "spec": {
            "model": {"path": "hf://Qwen/Qwen2.5-1.5B"},
            "data": {"train": [{"path": "/data/questions.jsonl"}]},
            "rewards": [{"type": "answer"}],
            "phases": [{"name": "ctx-2k", "maxResponseTokens": 2048, "until": {"steps": 200}}],
        },
    }


def edited(job: Mapping[str, Any], edits: Mapping[str, object]) -> dict[str, Any]:
    """The job with `{path: value}` put in."""
    made = copy.deepcopy(dict(job))
    for path, value in edits.items():
        parts: list[Any] = [int(part[1:-1]) if part.startswith("[") else part for part in re.findall(r"[^.\[\]]+|\[\d+\]", path)]
        place: Any = made
        for part, following in pairwise(parts):
            if isinstance(part, str) and part not in place:
                place[part] = [] if isinstance(following, int) else {}
            place = place[part]
        if isinstance(place, list) and parts[-1] == len(place):
            place.append(copy.deepcopy(value))
        else:
            place[parts[-1]] = copy.deepcopy(value)
    return made


def without_nulls(value: Any) -> Any:
    return {key: without_nulls(each) for key, each in value.items() if each is not None} if isinstance(value, dict) else value
