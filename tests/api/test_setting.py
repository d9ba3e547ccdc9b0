"""The setting of a step: one total function of where the run stands."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.api.parse import parse_job
from reasonrl.api.setting import setting_at

JobWith = Callable[[Mapping[str, object]], dict[str, Any]]

JOB = parse_job(
    {
        "apiVersion": "reasonrl.dev/v1alpha1",
        "kind": "ReasoningRLJob",
        "metadata": {"name": "scheduled"},
        "spec": {
            "model": {"path": "hf://Qwen/Qwen2.5-7B"},
            "data": {"train": [{"path": "questions.jsonl"}]},
            "rewards": [{"type": "answer"}],
            "algorithm": {
                "promptsPerStep": 64,
                "kl": {"schedule": {"type": "cosine", "start": 0.001, "end": 0.0, "steps": 500}},
                "optimizer": {"learningRate": 1e-6, "warmupSteps": 10, "schedule": {"type": "linear", "end": 0.5, "steps": 1000}},
            },
            "rollout": {"temperature": 1.0},
            "phases": [
                {"name": "ctx-8k", "maxResponseTokens": 8192, "until": {"maxSteps": 300}},
                {
                    "name": "ctx-16k",
                    "maxResponseTokens": 16384,
                    "temperature": 1.2,
                    "clipLow": 0.1,
                    "clipHigh": 0.4,
                    "learningRate": 5e-7,
                    "promptsPerStep": 32,
                    "klSchedule": {"type": "linear", "start": 0.01, "end": 0.0, "steps": 100},
                    "until": {"steps": 200},
                },
            ],
        },
    }
)


def test_a_phase_without_overrides_has_the_runs_values() -> None:
    setting = setting_at(JOB, phase_index=0, phase_step=250, global_step=250, adaptive_kl=None, adaptive_entropy=None)
    assert (setting.phase_name, setting.max_response_tokens, setting.temperature, setting.prompts_per_step) == ("ctx-8k", 8192, 1.0, 64)
    assert (setting.clip_low, setting.clip_high, setting.entropy_coefficient) == (0.2, 0.28, 0.0)
    assert setting.kl_coefficient == pytest.approx(0.0005)
    assert setting.learning_rate == pytest.approx(1e-6 * (1 - 0.5 * 240 / 1000))


def test_a_phases_overrides_hold_in_it() -> None:
    setting = setting_at(JOB, phase_index=1, phase_step=50, global_step=350, adaptive_kl=None, adaptive_entropy=None)
    assert (setting.phase_name, setting.max_response_tokens, setting.temperature, setting.prompts_per_step) == ("ctx-16k", 16384, 1.2, 32)
    assert (setting.clip_low, setting.clip_high) == (0.1, 0.4)
    assert setting.kl_coefficient == pytest.approx(0.005)
    assert setting.learning_rate == pytest.approx(5e-7 * (1 - 0.5 * 340 / 1000))


def test_an_adaptive_entropy_coefficient_is_what_the_run_remembers(job_with: JobWith) -> None:
    job = parse_job(job_with({"spec.algorithm.entropy": {"target": 0.2, "coefficient": 0.001}}))
    at = [
        setting_at(job, phase_index=0, phase_step=0, global_step=0, adaptive_kl=None, adaptive_entropy=remembered).entropy_coefficient
        for remembered in (None, 0.0, 0.004)
    ]
    assert at == [0.001, 0.0, 0.004]


@given(phase=st.integers(0, 1), phase_step=st.integers(0, 10**9), earlier=st.integers(0, 10**9))
def test_every_step_has_a_setting_and_it_is_always_the_same(phase: int, phase_step: int, earlier: int) -> None:
    def setting() -> object:
        return setting_at(
            JOB, phase_index=phase, phase_step=phase_step, global_step=phase_step + earlier, adaptive_kl=None, adaptive_entropy=None
        )

    found = setting_at(
        JOB, phase_index=phase, phase_step=phase_step, global_step=phase_step + earlier, adaptive_kl=None, adaptive_entropy=None
    )
    assert found == setting()
    assert 0.0 <= found.kl_coefficient <= 0.01
    assert 0.0 < found.learning_rate <= 1e-6
    assert all(math.isfinite(value) for value in (found.temperature, found.kl_coefficient, found.learning_rate))


@pytest.mark.parametrize("phase", [-1, 2])
def test_a_phase_that_there_is_not_is_an_error(phase: int) -> None:
    with pytest.raises(IndexError):
        setting_at(JOB, phase_index=phase, phase_step=0, global_step=0, adaptive_kl=None, adaptive_entropy=None)
