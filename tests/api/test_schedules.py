"""Schedules against their closed forms, and adaptive coefficients against their papers' update rules."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.api.algorithm_spec import EntropySpec, OptimizerSpec
from reasonrl.api.schedule_spec import (
    AdaptiveSchedule,
    ConstantSchedule,
    CosineSchedule,
    LinearSchedule,
    PiecewiseSchedule,
    SchedulePoint,
)
from reasonrl.api.schedules import (
    cosine,
    kl_coefficient_at,
    learning_rate_at,
    linear,
    next_adaptive_entropy,
    next_adaptive_kl,
    schedule_value,
    warmed_decay,
)

COSINE = CosineSchedule(type="cosine", start=0.001, end=0.0, steps=500)
LINEAR = LinearSchedule(type="linear", start=1.0, end=0.0, steps=10)
ADAPTIVE = AdaptiveSchedule(type="adaptive", start=0.2, target=6.0, horizon=10000)

finite = st.floats(min_value=0.0, max_value=1000.0)


@pytest.mark.parametrize("step", [0, 1, 100, 250, 499, 500, 501, 10**6])
def test_the_reports_kl_schedule(step: int) -> None:
    """coefficient(t) = 0.5 · c₀ · (1 + cos(π · t / 500)) for t < 500, else 0, with c₀ = 0.001 (released code of STILL-3)."""
    expected = 0.5 * 0.001 * (1 + math.cos(math.pi * step / 500)) if step < 500 else 0.0
    assert schedule_value(COSINE, step) == pytest.approx(expected, abs=1e-18)


def test_a_cosine_is_half_way_down_in_the_middle_and_symmetric() -> None:
    assert cosine(50, start=3.0, end=1.0, steps=100) == pytest.approx(2.0)
    for step in range(0, 51, 10):
        assert cosine(step, start=3.0, end=1.0, steps=100) + cosine(100 - step, start=3.0, end=1.0, steps=100) == pytest.approx(4.0)


def test_a_line() -> None:
    assert [linear(step, start=1.0, end=0.0, steps=4) for step in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


def test_stairs() -> None:
    stairs = PiecewiseSchedule(
        type="piecewise", points=(SchedulePoint(step=0, value=3.0), SchedulePoint(step=5, value=2.0), SchedulePoint(step=6, value=0.0))
    )
    assert [schedule_value(stairs, step) for step in (0, 4, 5, 6, 100)] == [3.0, 3.0, 2.0, 0.0, 0.0]


@given(start=finite, end=finite, steps=st.integers(1, 10**6), step=st.integers(0, 10**7))
def test_a_schedule_stays_between_its_ends(start: float, end: float, steps: int, step: int) -> None:
    low, high = sorted((start, end))
    slack = 1e-9 * (1 + high)
    assert low - slack <= cosine(step, start=start, end=end, steps=steps) <= high + slack
    assert low - slack <= linear(step, start=start, end=end, steps=steps) <= high + slack


def test_the_kl_coefficient_is_zero_when_kl_is_off() -> None:
    assert kl_coefficient_at(None, None, phase_step=3, global_step=3, adaptive=None) == 0.0


@pytest.mark.parametrize(("clock", "expected"), [(None, 0.0), ("run", 0.0), ("phase", 0.7)])
def test_the_runs_schedule_counts_the_run_unless_it_says_otherwise(clock: str | None, expected: float) -> None:
    schedule = LINEAR.model_copy(update={"clock": clock})
    assert kl_coefficient_at(schedule, None, phase_step=3, global_step=103, adaptive=None) == pytest.approx(expected)


@pytest.mark.parametrize(("clock", "expected"), [(None, 0.7), ("run", 0.0), ("phase", 0.7)])
def test_a_phases_schedule_counts_the_phase_unless_it_says_otherwise(clock: str | None, expected: float) -> None:
    base = ConstantSchedule(type="constant", value=9.0)
    own = LINEAR.model_copy(update={"clock": clock})
    assert kl_coefficient_at(base, own, phase_step=3, global_step=103, adaptive=None) == pytest.approx(expected)


def test_an_adaptive_coefficient_is_what_the_run_remembers() -> None:
    assert kl_coefficient_at(ADAPTIVE, None, phase_step=0, global_step=0, adaptive=None) == 0.2
    assert kl_coefficient_at(ADAPTIVE, None, phase_step=0, global_step=0, adaptive=0.05) == 0.05


@pytest.mark.parametrize(
    ("observed", "factor"),
    [(6.0, 1.0), (6.6, 1 + 0.1 * 512 / 10000), (100.0, 1 + 0.2 * 512 / 10000), (5.4, 1 - 0.1 * 512 / 10000), (0.0, 1 - 0.2 * 512 / 10000)],
)
def test_ziegler_update(observed: float, factor: float) -> None:
    """β ← β (1 + clip(KL / target − 1, ±0.2) · n / H), arXiv 1909.08593, section 2.2."""
    assert next_adaptive_kl(0.2, observed=observed, schedule=ADAPTIVE, samples=512) == pytest.approx(0.2 * factor, rel=1e-12)


@given(coefficient=st.floats(0.0, 100.0), observed=st.floats(-100.0, 100.0), samples=st.integers(1, 10**6))
def test_the_adaptive_kl_coefficient_never_turns_negative(coefficient: float, observed: float, samples: int) -> None:
    assert next_adaptive_kl(coefficient, observed=observed, schedule=ADAPTIVE, samples=samples) >= 0.0


def test_adaptive_entropy_moves_by_delta_towards_its_target() -> None:
    entropy = EntropySpec(target=0.2, delta=0.001, max_coefficient=0.005)
    assert next_adaptive_entropy(0.002, observed=0.1, entropy=entropy) == pytest.approx(0.003)
    assert next_adaptive_entropy(0.002, observed=0.3, entropy=entropy) == pytest.approx(0.001)
    assert next_adaptive_entropy(0.002, observed=0.2, entropy=entropy) == 0.002
    assert next_adaptive_entropy(0.005, observed=0.1, entropy=entropy) == 0.005
    assert next_adaptive_entropy(0.0005, observed=0.3, entropy=entropy) == 0.0


def test_without_a_target_the_entropy_coefficient_stays() -> None:
    assert next_adaptive_entropy(0.001, observed=0.0, entropy=EntropySpec(coefficient=0.001)) == 0.001


def test_warm_up_reaches_the_peak_with_its_last_step_and_wastes_none() -> None:
    rates = [warmed_decay(step, peak=1.0, warmup_steps=4, decay="constant", end=1.0, decay_steps=1) for step in range(6)]
    assert rates == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_the_learning_rate_falls_after_the_warm_up_to_its_share() -> None:
    optimizer = OptimizerSpec.model_validate(
        {"learningRate": 2e-6, "warmupSteps": 10, "schedule": {"type": "cosine", "end": 0.1, "steps": 100}}
    )
    at = [learning_rate_at(optimizer, peak=2e-6, global_step=step) for step in (9, 10, 60, 110, 10**6)]
    assert at == pytest.approx([2e-6, 2e-6, 2e-6 * (0.1 + 0.9 / 2), 2e-7, 2e-7])


@pytest.mark.parametrize("schedule", [None, {"type": "constant"}])
def test_without_a_schedule_the_learning_rate_stays_at_its_peak(schedule: object) -> None:
    optimizer = OptimizerSpec.model_validate({"schedule": schedule})
    assert learning_rate_at(optimizer, peak=3e-6, global_step=12345) == 3e-6
