"""Warnings that a person watching a run's curves would give, computed from its metrics.

Each signal is a pure function of the last steps and answers how bad it looks, on one scale for all: 1 is where a person should look, 2 is
twice that. None acts, and none remembers: `rl.health_states` makes states of the readings that do not flap. They compare the mean of the
newest `RECENT` steps with that of `EARLIER` steps before, within one phase, because a new context limit moves every curve.
The thresholds are ours and not the report's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from reasonrl.api.run_files import StepMetrics

RECENT = 10
EARLIER = 20
LENGTH_GROWTH = 1.10
"""Length hacking: recent mean length at least this multiple of the earlier."""
COMPLETED_FALL = 0.05
"""Length hacking: the completed share fell by at least this."""
REWARD_FALL = 0.5
"""Reward collapse: the mean reward fell by more than this many standard deviations of one response's reward …"""
REWARD_NOISE = 3.0
"""… and by more than this many standard errors of the difference between the windows."""
ENTROPY_FALL = 0.2
"""Entropy collapse: recent entropy below this share of the earlier."""
ENTROPY_FLOOR = 0.01
"""Entropy collapse: or, whatever it was before, below this many nats a token, for all recent steps."""
KL_GROWTH = 5.0
"""KL explosion: recent k3 at least this multiple of the earlier …"""
KL_FLOOR = 0.5
"""… and at least this many nats a token."""
REPETITIVE = 0.1
"""Repetition: this share of the recent responses, or more, repeat themselves."""
DEAD_STEPS = 3
"""Signals of a step that can teach nothing speak after this many such steps in a row."""


WARNING = 1.0
"""Badness from which a signal is worth a look."""
CRITICAL = 2.0
"""Badness from which it is bad enough to act on."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How bad one signal looks at the last step, from 0, and a sentence with the numbers."""

    badness: float
    message: str


FINE = Reading(0.0, "")
Signal = Callable[[Sequence[StepMetrics], Sequence[StepMetrics]], Reading | None]
"""`(history, earlier) -> reading`, both oldest first; None when there are too few steps to tell. `earlier` is what the newest steps are
compared with: `steps_before(history)`, or, for a signal that stands, the steps from before it began."""


def steps_before(history: Sequence[StepMetrics]) -> Sequence[StepMetrics]:
    """The `EARLIER` steps before the newest `RECENT`; empty while they are not all there, and of one phase."""
    if len(history) < RECENT + EARLIER:
        return ()
    steps = history[-RECENT - EARLIER :]
    return steps[:EARLIER] if steps[0].phase_index == steps[-1].phase_index else ()


def not_finite(history: Sequence[StepMetrics], _earlier: Sequence[StepMetrics]) -> Reading | None:
    """A loss, gradient norm, KL, entropy or reward of the last step is NaN or infinite."""
    if not history:
        return None
    last = history[-1]
    watched = {
        "loss": last.loss,
        "gradient norm": last.gradient_norm,
        "KL (k1)": last.kl_k1,
        "KL (k2)": last.kl_k2,
        "KL (k3)": last.kl_k3,
        "entropy": last.entropy,
        "mean reward": last.reward_mean,
    }
    broken = [f"{name} is {value}" for name, value in watched.items() if value is not None and not math.isfinite(value)]
    return Reading(CRITICAL, f"At step {last.step} {', '.join(broken)}.") if broken else FINE


def length_hacking(history: Sequence[StepMetrics], earlier: Sequence[StepMetrics]) -> Reading | None:
    """Responses get longer, fewer of them finish, and accuracy does not rise (STILL-3 section 4.2)."""
    length = _change(history, earlier, lambda metrics: metrics.response_length_mean)
    completed = _change(history, earlier, lambda metrics: metrics.completed_share)
    accuracy = _change(history, earlier, lambda metrics: metrics.accuracy)
    if length is None or completed is None or accuracy is None:
        return None
    if accuracy[1] > accuracy[0]:
        return FINE
    longer = _ratio(length[1] - length[0], (LENGTH_GROWTH - 1.0) * length[0])
    fewer_finish = (completed[0] - completed[1]) / COMPLETED_FALL
    return Reading(
        min(longer, fewer_finish),
        f"Responses grow from {length[0]:.0f} to {length[1]:.0f} tokens while the completed share falls from {completed[0]:.0%} to "
        f"{completed[1]:.0%} and accuracy does not rise ({accuracy[0]:.3f} to {accuracy[1]:.3f}).",
    )


def reward_collapse(history: Sequence[StepMetrics], earlier: Sequence[StepMetrics]) -> Reading | None:
    """The mean reward falls far, on the scale of one response's reward, and by more than its noise from step to step."""
    old, new = _values(earlier, _reward), _values(history[-RECENT:], _reward)
    spreads = _values(earlier, lambda metrics: metrics.reward_std)
    if len(old) < 2 or len(new) < 2 or not spreads:
        return None
    before, now = _mean(old), _mean(new)
    depth = _ratio(before - now, REWARD_FALL * _mean(spreads))
    beyond_noise = _ratio(before - now, REWARD_NOISE * math.sqrt(_variance(old) / len(old) + _variance(new) / len(new)))
    # A fall within the noise is no fall, however deep; one beyond it counts in full.
    badness = depth if beyond_noise >= 1.0 else min(depth, beyond_noise)
    return Reading(badness, f"The mean reward falls from {before:.3f} to {now:.3f}.")


def entropy_collapse(history: Sequence[StepMetrics], earlier: Sequence[StepMetrics]) -> Reading | None:
    """The policy's entropy falls to a fraction of what it was, or to almost nothing."""
    recent = _values(history[-RECENT:], lambda metrics: metrics.entropy)
    nothing = _ratio(ENTROPY_FLOOR, max(recent)) if len(recent) == RECENT else None
    change = _change(history, earlier, lambda metrics: metrics.entropy)
    fallen = None if change is None else _ratio(ENTROPY_FALL * change[0], change[1])
    if nothing is not None and nothing > 1.0 and nothing >= (fallen or 0.0):
        return Reading(
            nothing,
            f"Entropy has been below {ENTROPY_FLOOR} nats a token for {RECENT} steps (now {recent[-1]:.4f}): the policy hardly explores.",
        )
    if change is None or fallen is None:
        return None if nothing is None else FINE
    return Reading(fallen, f"Entropy falls from {change[0]:.4f} to {change[1]:.4f} nats a token.")


def kl_explosion(history: Sequence[StepMetrics], earlier: Sequence[StepMetrics]) -> Reading | None:
    """The KL from the reference (k3) multiplies within a few steps, and is large."""
    change = _change(history, earlier, lambda metrics: metrics.kl_k3)
    if change is None:
        return None
    badness = min(change[1] / KL_FLOOR, _ratio(change[1], KL_GROWTH * change[0]))
    return Reading(badness, f"KL from the reference grows from {change[0]:.4f} to {change[1]:.4f} nats a token.")


def all_truncated(history: Sequence[StepMetrics], _earlier: Sequence[StepMetrics]) -> Reading | None:
    """No response finished, for several steps."""
    steps = _in_a_row(history, lambda metrics: metrics.completed_share == 0.0)
    if not steps:
        return FINE if history else None
    return Reading(
        steps / DEAD_STEPS,
        f"No response has finished within {history[-1].max_response_tokens} tokens for {steps} steps: the context is too short, or the "
        "policy no longer writes its end token.",
    )


def zero_advantage(history: Sequence[StepMetrics], _earlier: Sequence[StepMetrics]) -> Reading | None:
    """No step of the last few could teach anything: nothing was kept, rewards were all equal, or no group had a contrast."""
    if not history:
        return None
    last = history[-1]
    nothing_kept = _in_a_row(history, lambda metrics: metrics.kept_responses == 0)
    all_equal = _in_a_row(history, lambda metrics: metrics.reward_std == 0.0)
    no_gradient = _in_a_row(history, lambda metrics: metrics.gradient_norm == 0.0)
    no_contrast = _in_a_row(history, _without_contrast)
    found = (
        (nothing_kept, f"No response has taken part in the gradient for {nothing_kept} steps."),
        (all_equal, f"All rewards of a step have been equal for {all_equal} steps (now {last.reward_mean}): every advantage is zero."),
        (no_gradient, f"The gradient has been exactly zero for {no_gradient} steps: every advantage is zero."),
        (
            no_contrast,
            f"Every group has been all right or all wrong for {no_contrast} steps (now {last.all_right_share:.0%} right): no response "
            "beats its siblings.",
        ),
    )
    steps, message = max(found, key=lambda each: each[0])
    return Reading(steps / DEAD_STEPS, message) if steps else FINE


def _without_contrast(metrics: StepMetrics) -> bool:
    # With more rewards than one, a group of equal answers can still differ in the others.
    return len(metrics.reward_components) == 1 and math.isclose(metrics.all_right_share + metrics.all_wrong_share, 1.0)


def repetition(history: Sequence[StepMetrics], earlier: Sequence[StepMetrics]) -> Reading | None:
    """Responses loop, or are mostly paragraphs that stood in them before."""
    recent = _values(history[-RECENT:], lambda metrics: metrics.repetitive_share)
    if len(recent) < RECENT:
        return None
    before = _values(earlier, lambda metrics: metrics.repetitive_share)
    since = f", after {_mean(before):.0%} before" if before else ""
    return Reading(_mean(recent) / REPETITIVE, f"{_mean(recent):.0%} of the responses of {RECENT} steps repeat themselves{since}.")


SIGNALS: Mapping[str, Signal] = {
    "NotFinite": not_finite,
    "LengthHacking": length_hacking,
    "RewardCollapse": reward_collapse,
    "EntropyCollapse": entropy_collapse,
    "KLExplosion": kl_explosion,
    "AllTruncated": all_truncated,
    "Repetition": repetition,
    "ZeroAdvantage": zero_advantage,
}


def _change(
    history: Sequence[StepMetrics], earlier: Sequence[StepMetrics], value: Callable[[StepMetrics], float | None]
) -> tuple[float, float] | None:
    """Mean of the earlier and of the newest steps that have the value; None when either has none."""
    old, new = _values(earlier, value), _values(history[-RECENT:], value)
    return (_mean(old), _mean(new)) if old and new else None


def _in_a_row(history: Sequence[StepMetrics], holds: Callable[[StepMetrics], bool]) -> int:
    """How many of the newest steps it holds for, without a gap."""
    return next((count for count, metrics in enumerate(reversed(history)) if not holds(metrics)), len(history))


def _ratio(part: float, whole: float) -> float:
    """0 when the part is nothing, infinite when the whole is."""
    if part <= 0.0:
        return 0.0
    return part / whole if whole > 0.0 else math.inf


def _values(steps: Sequence[StepMetrics], value: Callable[[StepMetrics], float | None]) -> list[float]:
    found = (value(metrics) for metrics in steps)
    return [number for number in found if number is not None and math.isfinite(number)]


def _reward(metrics: StepMetrics) -> float | None:
    return metrics.reward_mean


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _variance(values: Sequence[float]) -> float:
    mean = _mean(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)
