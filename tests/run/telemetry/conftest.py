from __future__ import annotations

from collections.abc import Callable

import pytest

from reasonrl.api.run_files import EvaluationMetrics, Event, StepMetrics, WarmStartMetrics

START = 1_700_000_000.0


def _step(step: int, **changes: object) -> StepMetrics:
    fields: dict[str, object] = {
        "step": step,
        "time": START + 2.0 * step,
        "phase": "short",
        "phase_index": 0,
        "phase_step": step,
        "max_response_tokens": 256,
        "temperature": 1.0,
        "kl_coefficient": 0.001,
        "learning_rate": 1e-3,
        "entropy_coefficient": 0.0,
        "reward_mean": 0.25 + step / 100,
        "reward_std": 0.4,
        "reward_components": {"answer": 0.25, "format": 0.9},
        "outcomes": {"value": 6, "error": 1, "timeout": 1, "unscorable": 0},
        "accuracy": 0.25,
        "response_length_mean": 100.0,
        "response_length_p50": 90.0,
        "response_length_p95": 250.0,
        "response_length_max": 256,
        "correct_length_mean": 70.0,
        "incorrect_length_mean": 120.0,
        "lengths_by_outcome": {"correct": [60, 80], "incorrect": [100, 140], "truncated": [256], "unscored": [40, 50, 16]},
        "truncated_share": 0.125,
        "completed_share": 0.875,
        "all_right_share": 0.0,
        "all_wrong_share": 0.5,
        "kept_responses": 5,
        "responses": 8,
        "entropy": 1.5,
        "clip_fraction": 0.01,
        "gradient_norm": 0.8,
        "loss": -0.01,
        "kl_k1": 0.002,
        "kl_k2": 0.003,
        "kl_k3": 0.0025,
        "sampler_gap_mean": 1e-4,
        "sampler_gap_max": 1e-3,
        "staleness_max": 0,
        "reflection_share": {"verification": 0.1},
        "reflection_per_1000_tokens": {"verification": 2.0},
        "selection_kept": {"unscored": 8},
        "selection_dropped": {"unscored": 0},
        "prompt_tokens": 320,
        "response_tokens": 800,
        "tokens_per_second": 400.0,
        "seconds": {"rollout": 1.0, "grade": 0.2, "update": 0.5, "weight_sync": 0.05, "total": 2.0},
        "reference_resets": 0,
    }
    return StepMetrics.model_validate(fields | changes)


def _evaluation(step: int, **changes: object) -> EvaluationMetrics:
    fields: dict[str, object] = {
        "step": step,
        "time": START + 2.0 * step,
        "phase": "short",
        "benchmark": "held-out",
        "questions": 50,
        "samples": 4,
        "temperature": 0.6,
        "max_response_tokens": 256,
        "accuracy": 0.2,
        "accuracy_error": 0.03,
        "response_length_mean": 110.0,
        "correct_length_mean": 80.0,
        "incorrect_length_mean": 130.0,
        "truncated_share": 0.1,
        "unscored": 0,
        "seconds": 3.0,
    }
    return EvaluationMetrics.model_validate(fields | changes)


@pytest.fixture
def step() -> Callable[..., StepMetrics]:
    return _step


@pytest.fixture
def evaluation() -> Callable[..., EvaluationMetrics]:
    return _evaluation


@pytest.fixture
def warm_start() -> Callable[..., WarmStartMetrics]:
    return lambda step, loss=2.0: WarmStartMetrics(step=step, time=START, loss=loss, learning_rate=1e-3, tokens_per_second=900.0)


@pytest.fixture
def event() -> Callable[..., Event]:
    return lambda step, reason="CheckpointSaved", message="saved": Event(time=START, step=step, reason=reason, message=message)
