"""Health signals over time: they enter, get worse, and leave, and do not flap in between."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from reasonrl.api.run_files import StepMetrics
from reasonrl.rl.health import EARLIER, RECENT, SIGNALS
from reasonrl.rl.health_states import ALL_OK, CALM_STEPS, PATIENCE_STEPS, next_states

Change = Callable[[int], dict[str, Any]]

REQUIRED = {name: None for name, field in StepMetrics.model_fields.items() if field.is_required()}
HEALTHY: dict[str, Any] = {
    **REQUIRED,
    "phase": "only", "phase_index": 0, "max_response_tokens": 100, "temperature": 1.0, "kl_coefficient": 0.0, "learning_rate": 0.0,
    "entropy_coefficient": 0.0, "reward_mean": 0.5, "reward_std": 0.5, "reward_components": {"answer": 0.5}, "outcomes": {},
    "accuracy": 0.5, "response_length_mean": 50.0, "response_length_p50": 50.0, "response_length_p95": 90.0, "response_length_max": 100,
    "lengths_by_outcome": {}, "truncated_share": 0.1, "completed_share": 0.9, "all_right_share": 0.2, "all_wrong_share": 0.2,
    "kept_responses": 64, "responses": 64, "entropy": 0.6, "gradient_norm": 0.4, "loss": 0.01, "kl_k3": 0.01, "staleness_max": 0,
    "reflection_share": {}, "reflection_per_1000_tokens": {}, "prompt_tokens": 1, "response_tokens": 1, "tokens_per_second": 1.0,
    "seconds": {}, "reference_resets": 0,
}  # fmt: skip


def severities(signal: str, change: Change, steps: int) -> list[str]:
    """The signal's severity after each step."""
    history: list[StepMetrics] = []
    states, found = dict(ALL_OK), []
    for step in range(steps):
        history.append(StepMetrics(**(HEALTHY | {"step": step, "time": 0.0, "phase_step": step} | change(step))))
        states = next_states(states, history[-RECENT - EARLIER :])
        found.append(states[signal].severity)
    return found


def turns(found: Sequence[str]) -> list[str]:
    """Without repetitions."""
    return [each for index, each in enumerate(found) if index == 0 or each != found[index - 1]]


def test_a_collapse_stays_critical_for_as_long_as_it_lasts() -> None:
    found = severities("RewardCollapse", lambda step: {"reward_mean": 0.02 if step >= 40 else 0.5 + 0.01 * (step % 3)}, 200)
    assert turns(found) == ["ok", "warning", "critical"]
    assert found[39] == "ok"
    assert found[-1] == "critical"


def test_a_collapse_that_recovers_is_over() -> None:
    found = severities("RewardCollapse", lambda step: {"reward_mean": 0.02 if 40 <= step < 60 else 0.5 + 0.01 * (step % 3)}, 120)
    assert turns(found) == ["ok", "warning", "critical", "ok"]


def test_half_a_recovery_is_none() -> None:
    """KL explodes to four times the threshold and then stays just below it: it has not gone back to what it was."""
    found = severities("KLExplosion", lambda step: {"kl_k3": 0.05 if step < 40 else 2.0 if step < 60 else 0.45}, 150)
    assert turns(found) == ["ok", "warning", "critical"]


@pytest.mark.parametrize("seed", range(5))
def test_noise_around_the_threshold_does_not_flap(seed: int) -> None:
    noise = random.Random(seed)
    found = severities("KLExplosion", lambda step: {"kl_k3": 0.05 if step < 40 else 0.5 + noise.gauss(0.0, 0.1)}, 300)
    assert turns(found) in (["ok", "warning", "critical"], ["ok"])


def test_a_warning_that_stands_for_long_becomes_critical() -> None:
    found = severities("KLExplosion", lambda step: {"kl_k3": 0.05 if step < 40 else 0.6}, 80)
    assert turns(found) == ["ok", "warning", "critical"]
    assert found.count("warning") == PATIENCE_STEPS


def test_what_is_far_beyond_the_threshold_is_critical_without_waiting() -> None:
    found = severities("KLExplosion", lambda step: {"kl_k3": 0.05 if step < 40 else 100.0}, 42)
    assert found[40:] == ["critical", "critical"]


def test_one_number_that_is_none_is_critical_until_several_steps_were_fine() -> None:
    found = severities("NotFinite", lambda step: {"kl_k1": math.nan} if step == 3 else {}, 12)
    assert found == ["ok"] * 3 + ["critical"] * CALM_STEPS + ["ok"] * (9 - CALM_STEPS)


def test_steps_that_teach_nothing_are_a_warning_first_and_critical_later() -> None:
    found = severities("ZeroAdvantage", lambda step: {"reward_std": 0.0} if step >= 2 else {}, 8)
    assert found == ["ok"] * 4 + ["warning"] * 3 + ["critical"]


def test_one_good_step_among_dead_ones_does_not_end_the_signal() -> None:
    found = severities("AllTruncated", lambda step: {"completed_share": 0.1 if step % 4 == 0 else 0.0}, 60)
    assert turns(found) == ["ok", "warning", "critical"]


def test_a_collapse_of_one_phase_stands_until_the_next_phase_can_speak_for_itself() -> None:
    def change(step: int) -> dict[str, Any]:
        index = int(step >= 60)
        collapsed = {"response_length_mean": 80.0, "completed_share": 0.6, "accuracy": 0.45} if 40 <= step < 60 else {}
        return {"phase_index": index, **collapsed}

    found = severities("LengthHacking", change, 60 + RECENT)
    assert found[59] == "critical"
    assert found[60] == "critical"
    assert found[-1] == "ok"


def test_a_run_as_it_should_be_is_ok_throughout() -> None:
    def learning(step: int) -> dict[str, Any]:
        noise = random.Random(step).gauss
        accuracy = min(0.95, 0.2 + 0.004 * step + noise(0, 0.04))
        return {
            "accuracy": accuracy,
            "reward_mean": accuracy,
            "response_length_mean": 40 + 0.3 * step + noise(0, 2),
            "completed_share": min(1.0, 0.95 + noise(0, 0.02)),
            "entropy": 0.8 - 0.002 * step,
            "kl_k3": 0.0005 * step,
        }

    for signal in SIGNALS:
        assert turns(severities(signal, learning, 150)) == ["ok"], signal
