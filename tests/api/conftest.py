"""A small valid job as a mapping, and a way to say "the same job, but with this field different"."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest

Job = dict[str, Any]
REMOVED = object()
"""As a value in an edit: the field is taken away."""


def _minimal() -> Job:
    return {
        "apiVersion": "reasonrl.dev/v1alpha1",
        "kind": "ReasoningRLJob",
        "metadata": {"name": "first"},
        "spec": {
            "model": {"path": "hf://Qwen/Qwen2.5-1.5B"},
            "data": {"train": [{"path": "/data/questions.jsonl"}]},
            "rewards": [{"type": "answer"}],
            "phases": [{"name": "ctx-2k", "maxResponseTokens": 2048, "until": {"steps": 200}}],
        },
    }


def _edit(job: Job, path: str, value: object) -> None:
    parts: list[Any] = [int(part[1:-1]) if part.startswith("[") else part for part in re.findall(r"[^.\[\]]+|\[\d+\]", path)]
    place: Any = job
    for part, following in pairwise(parts):
        if isinstance(part, str) and part not in place:
            place[part] = [] if isinstance(following, int) else {}
        place = place[part]
    if value is REMOVED:
        del place[parts[-1]]
    elif isinstance(place, list) and parts[-1] == len(place):
        place.append(value)
    else:
        place[parts[-1]] = value


@pytest.fixture
def removed() -> object:
    return REMOVED


@pytest.fixture
def minimal() -> Job:
    return _minimal()


@pytest.fixture
def job_with() -> Callable[[Mapping[str, object]], Job]:
    """The minimal job with `{path: value}` put in, in order; paths as in messages, such as `spec.phases[0].until.steps`."""

    def edited(edits: Mapping[str, object]) -> Job:
        job = _minimal()
        for path, value in edits.items():
            _edit(job, path, copy.deepcopy(value) if value is not REMOVED else value)
        return job

    return edited
