"""Health signals on synthetic histories: each speaks on its own disease and is silent on a healthy run."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from reasonrl.api.run_files import StepMetrics
from reasonrl.rl.health import CRITICAL, EARLIER, RECENT, SIGNALS, WARNING, Reading, steps_before

HEALTHY: dict[str, Any] = {
    "phase": "only",
    "phase_index": 0,
    "max_response_tokens": 100,
    "temperature": 1.0,
    "kl_coefficient": 0.001,
    "learning_rate": 1e-4,
    "entropy_coefficient": 0.0,
    "reward_mean": 0.5,
    "reward_std": 0.5,
    "reward_components": {"answer": 0.5},
    "outcomes": {"value": 64},
    "accuracy": 0.5,
    "response_length_mean": 50.0,
    "response_length_p50": 50.0,
    "response_length_p95": 90.0,
    "response_length_max": 100,
    "correct_length_mean": 45.0,
    "incorrect_length_mean": 55.0,
    "lengths_by_outcome": {},
    "truncated_share": 0.1,
    "completed_share": 0.9,
    "all_right_share": 0.2,
    "all_wrong_share": 0.2,
    "kept_responses": 64,
    "responses": 64,
    "entropy": 0.6,
    "clip_fraction": 0.0,
    "gradient_norm": 0.4,
    "loss": 0.01,
    "kl_k1": 0.01,
    "kl_k2": 0.01,
    "kl_k3": 0.01,
    "sampler_gap_mean": 1e-6,
    "sampler_gap_max": 1e-5,
    "staleness_max": 0,
    "reflection_share": {},
    "reflection_per_1000_tokens": {},
    "prompt_tokens": 640,
    "response_tokens": 3200,
    "tokens_per_second": 1000.0,
    "seconds": {"total": 1.0},
    "reference_resets": 0,
}


def history(change: Callable[[int], dict[str, Any]], steps: int = RECENT + EARLIER) -> list[StepMetrics]:
    return [StepMetrics(step=step, time=float(step), phase_step=step, **(HEALTHY | change(step))) for step in range(steps)]


def speaking(steps: list[StepMetrics]) -> dict[str, Reading]:
    """The signals that a run gives at its last step, without regard to what they were before."""
    readings = {name: signal(steps, steps_before(steps)) for name, signal in SIGNALS.items()}
    return {name: reading for name, reading in readings.items() if reading is not None and reading.badness >= WARNING}


def signals(steps: list[StepMetrics]) -> list[str]:
    return list(speaking(steps))


def late(step: int) -> bool:
    return step >= EARLIER


def learning(step: int) -> dict[str, Any]:
    """A run as it should be: reward, length and accuracy rise together, entropy falls slowly, KL rises slowly, all with noise."""
    noise = random.Random(step).gauss
    accuracy = min(0.95, 0.2 + 0.02 * step + noise(0, 0.04))
    return {
        "accuracy": accuracy,
        "reward_mean": accuracy,
        "response_length_mean": 40 + step + noise(0, 2),
        "completed_share": 0.95 + noise(0, 0.02),
        "entropy": 0.8 - 0.01 * step,
        "kl_k3": 0.002 * step,
    }


def test_a_healthy_run_has_no_warnings_at_any_step() -> None:
    steps = history(learning)
    for end in range(len(steps) + 1):
        assert speaking(steps[:end]) == {}


@pytest.mark.parametrize(
    ("signal", "change", "says"),
    [
        (
            "NotFinite",
            lambda step: {"loss": math.nan, "gradient_norm": math.inf} if step == 29 else {},
            "loss is nan, gradient norm is inf",
        ),
        (
            "Repetition",
            lambda step: {"repetitive_share": 0.3 if late(step) else 0.05},
            "30% of the responses of 10 steps repeat themselves, after 5% before",
        ),
        (
            "LengthHacking",
            lambda step: {"response_length_mean": 80.0, "completed_share": 0.6, "accuracy": 0.45} if late(step) else {},
            "from 50 to 80 tokens while the completed share falls from 90% to 60%",
        ),
        ("RewardCollapse", lambda step: {"reward_mean": 0.05 if late(step) else 0.5 + 0.01 * (step % 3)}, "from 0.509 to 0.050"),
        ("EntropyCollapse", lambda step: {"entropy": 0.6 * 0.85 ** max(0, step - 10)}, "nats a token"),
        ("EntropyCollapse", lambda step: {"entropy": 0.005}, "below 0.01 nats"),
        ("KLExplosion", lambda step: {"kl_k3": 3.0 if late(step) else 0.05}, "from 0.0500 to 3.0000"),
        (
            "AllTruncated",
            lambda step: {"completed_share": 0.0, "truncated_share": 1.0} if step >= 27 else {},
            "within 100 tokens for 3 steps",
        ),
        ("ZeroAdvantage", lambda step: {"reward_std": 0.0} if step >= 27 else {}, "All rewards"),
        ("ZeroAdvantage", lambda step: {"kept_responses": 0} if step >= 27 else {}, "No response has taken part"),
        ("ZeroAdvantage", lambda step: {"gradient_norm": 0.0} if step >= 27 else {}, "exactly zero"),
        ("ZeroAdvantage", lambda step: {"all_right_share": 0.7, "all_wrong_share": 0.3} if step >= 27 else {}, "all right or all wrong"),
    ],
)
def test_each_disease_gives_its_own_warning(signal: str, change: Callable[[int], dict[str, Any]], says: str) -> None:
    found = speaking(history(change))
    assert list(found) == [signal]
    assert says in found[signal].message
    assert found[signal].message.endswith(".")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda step: {"response_length_mean": 80.0, "completed_share": 0.6, "accuracy": 0.6} if late(step) else {}, id="accuracy rises"
        ),
        pytest.param(lambda step: {"response_length_mean": 80.0, "accuracy": 0.4} if late(step) else {}, id="responses still finish"),
        pytest.param(lambda step: {"completed_share": 0.6, "accuracy": 0.4} if late(step) else {}, id="length does not grow"),
    ],
)
def test_length_hacking_needs_all_three_signs(change: Callable[[int], dict[str, Any]]) -> None:
    assert "LengthHacking" not in signals(history(change))


def test_noise_is_not_a_reward_collapse() -> None:
    for seed in range(50):
        noise = random.Random(seed)
        assert "RewardCollapse" not in signals(history(lambda step, noise=noise: {"reward_mean": noise.gauss(0.0, 1.0)}))


def test_a_small_steady_decline_is_not_a_reward_collapse() -> None:
    assert signals(history(lambda step: {"reward_mean": 0.6 - 0.003 * step})) == []


def test_a_new_phase_starts_the_comparison_anew() -> None:
    def change(step: int) -> dict[str, Any]:
        return {
            "phase_index": int(late(step)),
            **({"response_length_mean": 80.0, "completed_share": 0.6, "accuracy": 0.4} if late(step) else {}),
        }

    assert signals(history(change)) == []


def test_one_dead_step_is_not_yet_a_warning() -> None:
    assert signals(history(lambda step: {"reward_std": 0.0, "completed_share": 0.0} if step == 29 else {})) == []


def test_uniform_groups_may_still_differ_in_another_reward() -> None:
    both = {"reward_components": {"answer": 1.0, "overlong": -0.2}, "all_right_share": 1.0, "all_wrong_share": 0.0}
    assert signals(history(lambda step: both)) == []


def test_values_that_a_run_does_not_have_are_no_disease() -> None:
    absent = dict.fromkeys(("reward_mean", "reward_std", "accuracy", "entropy", "kl_k1", "kl_k2", "kl_k3", "loss", "gradient_norm"))
    assert signals(history(lambda step: absent)) == []


def test_signal_names_are_fit_for_a_condition() -> None:
    assert all(name.isalnum() and name[0].isupper() for name in SIGNALS)


def test_badness_is_the_multiple_of_the_threshold() -> None:
    def kl(now: float) -> float:
        return speaking(history(lambda step: {"kl_k3": now if late(step) else 0.05}))["KLExplosion"].badness

    assert kl(0.5) == pytest.approx(WARNING)
    assert kl(1.0) == pytest.approx(CRITICAL)
    assert kl(4.0) == pytest.approx(8.0)


def test_a_number_that_is_none_is_critical_at_once() -> None:
    assert speaking(history(lambda step: {"kl_k1": math.inf} if step == 29 else {}))["NotFinite"].badness == CRITICAL
