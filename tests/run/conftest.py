"""A job small enough to run many times: a model of a few thousand weights, chains of two or three digits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

TINY_JOB: dict[str, Any] = {
    "apiVersion": "reasonrl.dev/v1alpha1",
    "kind": "ReasoningRLJob",
    "metadata": {"name": "tiny"},
    "spec": {
        "seed": 7,
        "model": {
            "scratch": {
                "hiddenSize": 32,
                "layers": 1,
                "heads": 2,
                "keyValueHeads": 2,
                "feedForwardSize": 48,
                "initializerRange": 0.1,
                "contextTokens": 96,
            },
            "dtype": "float32",
            "reference": {"resetEverySteps": 3},
        },
        "prompt": {"template": "raw", "maxTokens": 32},
        # Ten questions and four a step: an epoch ends in the middle of the third step.
        "data": {"train": [{"task": {"name": "chainedDigits", "size": 10, "seed": 1, "options": {"minTerms": 2, "maxTerms": 3}}}]},
        "sft": {
            "train": [{"task": {"name": "chainedDigits", "size": 64, "seed": 2, "options": {"minTerms": 2, "maxTerms": 3}}}],
            "steps": 30,
            "batchSize": 8,
            "learningRate": 5.0e-3,
        },
        "algorithm": {
            "promptsPerStep": 4,
            "rolloutsPerPrompt": 4,
            "updatesPerStep": 2,
            "kl": {"estimator": "k3", "placement": "loss", "schedule": {"type": "cosine", "start": 0.1, "end": 0.0, "steps": 6}},
            "entropy": {"coefficient": 0.001, "target": 1.0},
            "optimizer": {"learningRate": 1.0e-3},
        },
        "rewards": [{"type": "answer"}],
        "phases": [
            {"name": "short", "maxResponseTokens": 12, "until": {"steps": 4}},
            {"name": "long", "maxResponseTokens": 24, "until": {"maxSteps": 4}, "temperature": 1.1},
        ],
        "evaluation": {
            "everySteps": 2,
            "benchmarks": [
                {
                    "name": "heldout",
                    "task": {"name": "chainedDigits", "size": 6, "seed": 3, "options": {"minTerms": 2, "maxTerms": 3}},
                    "samples": 2,
                    "temperature": 1.0,
                }
            ],
        },
        "checkpoint": {"everySteps": 2, "keepLast": 10},
    },
}


@pytest.fixture
def tiny_job() -> dict[str, Any]:
    return copy.deepcopy(TINY_JOB)


@pytest.fixture(scope="module")
def shared_tiny_job() -> dict[str, Any]:
    return copy.deepcopy(TINY_JOB)


@pytest.fixture
def write_job(tmp_path: Path) -> Callable[..., Path]:
    def write(document: dict[str, Any], name: str = "job.yaml") -> Path:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(document))
        return path

    return write
