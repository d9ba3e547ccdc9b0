"""Values of schedules: pure, total functions of the step. Adaptive coefficients, which are state, are pure functions from one value and
what was observed to the next."""

from __future__ import annotations

import math
from typing import Literal, assert_never

from reasonrl.api.algorithm_spec import EntropySpec, OptimizerSpec
from reasonrl.api.schedule_spec import (
    AdaptiveSchedule,
    ConstantSchedule,
    CosineSchedule,
    LinearSchedule,
    PiecewiseSchedule,
)

Fixed = ConstantSchedule | LinearSchedule | CosineSchedule | PiecewiseSchedule
Decay = Literal["constant", "linear", "cosine"]


def cosine(step: int, *, start: float, end: float, steps: int) -> float:
    """`end + ½ (start − end) (1 + cos(π step / steps))` before `steps`, then `end` (STILL-3 §3.1.1, as its released code has it)."""
    if step >= steps:
        return end
    return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * step / steps))


def linear(step: int, *, start: float, end: float, steps: int) -> float:
    """`start + (end − start) step / steps` before `steps`, then `end`."""
    if step >= steps:
        return end
    return start + (end - start) * step / steps


def schedule_value(schedule: Fixed, step: int) -> float:
    """The coefficient at `step` of the schedule's own clock, from 0."""
    match schedule:
        case ConstantSchedule():
            return schedule.value
        case LinearSchedule():
            return linear(step, start=schedule.start, end=schedule.end, steps=schedule.steps)
        case CosineSchedule():
            return cosine(step, start=schedule.start, end=schedule.end, steps=schedule.steps)
        case PiecewiseSchedule():
            return [point.value for point in schedule.points if point.step <= max(step, schedule.points[0].step)][-1]
        case _ as unreachable:
            assert_never(unreachable)


def kl_coefficient_at(
    of_run: Fixed | AdaptiveSchedule | None,
    of_phase: Fixed | None,
    *,
    phase_step: int,
    global_step: int,
    adaptive: float | None,
) -> float:
    """The KL coefficient of one step; 0 when KL is off (`of_run` None). `adaptive` is the state of an adaptive schedule, None at its start.

    A phase's own schedule goes before the run's, and counts the steps of the phase unless its clock says otherwise.
    """
    if of_run is None:
        return 0.0
    if of_phase is not None:
        return schedule_value(of_phase, global_step if _clock(of_phase, "phase") == "run" else phase_step)
    if isinstance(of_run, AdaptiveSchedule):
        return of_run.start if adaptive is None else adaptive
    return schedule_value(of_run, phase_step if _clock(of_run, "run") == "phase" else global_step)


def learning_rate_at(optimizer: OptimizerSpec, *, peak: float, global_step: int) -> float:
    """Warm-up, then the optimizer's schedule, of the peak learning rate."""
    schedule = optimizer.schedule
    if schedule is None or schedule.type == "constant":
        return warmed_decay(global_step, peak=peak, warmup_steps=optimizer.warmup_steps, decay="constant", end=1.0, decay_steps=1)
    return warmed_decay(
        global_step,
        peak=peak,
        warmup_steps=optimizer.warmup_steps,
        decay=schedule.type,
        end=schedule.end,
        decay_steps=schedule.steps,
    )


def warmed_decay(step: int, *, peak: float, warmup_steps: int, decay: Decay, end: float, decay_steps: int) -> float:
    """Learning rate of update `step`, from 0: `peak (step + 1) / warmup_steps` while warming up, so that no update is wasted on
    a rate of 0; then from `peak` to `end × peak` over `decay_steps`, counted from the end of the warm-up."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if decay == "constant":
        return peak
    after = step - warmup_steps
    shape = cosine if decay == "cosine" else linear
    return shape(after, start=peak, end=end * peak, steps=decay_steps)


def next_adaptive_kl(coefficient: float, *, observed: float, schedule: AdaptiveSchedule, samples: int) -> float:
    """Ziegler et al. 2019 (arXiv 1909.08593), section 2.2: `e = clip(KL / target − 1, −0.2, 0.2)`, `β ← β (1 + e · samples / horizon)`.

    `observed` is the step's mean KL in nats, `samples` its responses. The factor is kept at 0 or above: a step with more responses
    than five horizons would otherwise turn the sign.
    """
    error = min(max(observed / schedule.target - 1.0, -0.2), 0.2)
    return coefficient * max(1.0 + error * samples / schedule.horizon, 0.0)


def next_adaptive_entropy(coefficient: float, *, observed: float, entropy: EntropySpec) -> float:
    """Skywork-OR1 (arXiv 2505.22312): up by delta when the observed entropy (nats) is below the target, down by delta when above, within
    `[0, maxCoefficient]`. Without a target the coefficient stays.

    The paper also turns the bonus off at once in a step whose entropy is above the target; here the coefficient falls by delta a step,
    because the entropy of a step is known only after its update. Ours, not the paper's.
    """
    if entropy.target is None or observed == entropy.target:
        return coefficient
    moved = coefficient + (entropy.delta if observed < entropy.target else -entropy.delta)
    return min(max(moved, 0.0), entropy.max_coefficient)


def _clock(schedule: Fixed, default: Literal["run", "phase"]) -> Literal["run", "phase"]:
    if isinstance(schedule, ConstantSchedule) or schedule.clock is None:
        return default
    return schedule.clock
