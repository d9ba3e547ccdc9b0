from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.parse import parse_job
from reasonrl.api.run_files import StepMetrics


def _job(**spec: Any) -> ReasoningRLJob:
    return parse_job(
        {
            "apiVersion": "reasonrl.dev/v1alpha1",
            "kind": "ReasoningRLJob",
            "metadata": {"name": "tiny"},
            "spec": {
                "model": {"path": "hf://Qwen/Qwen2.5-1.5B"},
                "data": {"train": [{"path": "/data/questions.jsonl"}]},
                "rewards": [{"type": "answer"}],
                "phases": [
                    {"name": "short", "maxResponseTokens": 256, "until": {"steps": 10}},
                    {"name": "long", "maxResponseTokens": 512, "until": {"steps": 10}, "advance": "Manual"},
                ],
                **spec,
            },
        }
    )


def _step(step: int, **changes: Any) -> StepMetrics:
    required = {name: None for name, field in StepMetrics.model_fields.items() if field.is_required()}
    values: dict[str, Any] = {
        **required,
        "step": step, "time": 1.0, "phase": "short", "phase_index": 0, "phase_step": step, "max_response_tokens": 256,
        "temperature": 1.0, "kl_coefficient": 0.001, "learning_rate": 0.0, "entropy_coefficient": 0.0, "reward_mean": 0.5,
        "reward_components": {}, "outcomes": {}, "accuracy": 0.25, "response_length_mean": 100.0, "response_length_p50": 90.0,
        "response_length_p95": 250.0, "response_length_max": 256, "lengths_by_outcome": {}, "truncated_share": 0.125,
        "completed_share": 0.875, "all_right_share": 0.0, "all_wrong_share": 0.0, "kept_responses": 1, "responses": 1,
        "staleness_max": 0, "reflection_share": {}, "reflection_per_1000_tokens": {}, "prompt_tokens": 1, "response_tokens": 1,
        "tokens_per_second": 400.0, "seconds": {}, "reference_resets": 0,
    }  # fmt: skip
    return StepMetrics(**(values | changes))


@pytest.fixture
def job() -> Callable[..., ReasoningRLJob]:
    return _job


@pytest.fixture
def step() -> Callable[..., StepMetrics]:
    return _step
