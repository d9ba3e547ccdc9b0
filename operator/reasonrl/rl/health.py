"""Warnings that a person watching a run's curves would give, computed from its metrics.

Each signal is a pure function of the last steps and answers with a sentence or None; none acts. They compare the mean of the newest
`RECENT` steps with that of the `EARLIER` steps before them, within one phase, because a new context limit moves every curve.
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
DEAD_STEPS = 3
"""Signals of a step that can teach nothing speak after this many such steps in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthWarning:
    """`signal` is CamelCase and stable, fit for a condition's reason; `message` is a sentence with the numbers."""

    signal: str
    message: str
    step: int


@dataclass(frozen=True, slots=True)
class _Windows:
    """The newest steps and those before them, of the current phase."""

    recent: Sequence[StepMetrics]
    earlier: Sequence[StepMetrics]


Signal = Callable[[Sequence[StepMetrics]], str | None]
"""`history, oldest first -> sentence`, or None when all is well or there are too few steps to tell."""


def health_warnings(history: Sequence[StepMetrics]) -> list[HealthWarning]:
    """Every warning that the history, oldest step first, gives at its last step. The last `RECENT + EARLIER` steps suffice."""
    warnings = []
    for name, signal in SIGNALS.items():
        message = signal(history)
        if message is not None:
            warnings.append(HealthWarning(signal=name, message=message, step=history[-1].step))
    return warnings


def not_finite(history: Sequence[StepMetrics]) -> str | None:
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
    return f"At step {last.step} {', '.join(broken)}." if broken else None


def length_hacking(history: Sequence[StepMetrics]) -> str | None:
    """Responses get longer, fewer of them finish, and accuracy does not rise (STILL-3 section 4.2)."""
    windows = _windows(history)
    if windows is None:
        return None
    length = _change(windows, lambda metrics: metrics.response_length_mean)
    completed = _change(windows, lambda metrics: metrics.completed_share)
    accuracy = _change(windows, lambda metrics: metrics.accuracy)
    if length is None or completed is None or accuracy is None:
        return None
    longer = length[1] >= LENGTH_GROWTH * length[0]
    fewer_finish = completed[1] <= completed[0] - COMPLETED_FALL
    if longer and fewer_finish and accuracy[1] <= accuracy[0]:
        return (
            f"Responses grow from {length[0]:.0f} to {length[1]:.0f} tokens while the completed share falls from {completed[0]:.0%} to "
            f"{completed[1]:.0%} and accuracy does not rise ({accuracy[0]:.3f} to {accuracy[1]:.3f})."
        )
    return None


def reward_collapse(history: Sequence[StepMetrics]) -> str | None:
    """The mean reward falls far, on the scale of one response's reward, and by more than its noise from step to step."""
    windows = _windows(history)
    if windows is None:
        return None
    earlier, recent = _values(windows.earlier, _reward), _values(windows.recent, _reward)
    spreads = _values(windows.earlier, lambda metrics: metrics.reward_std)
    if len(earlier) < 2 or len(recent) < 2 or not spreads:
        return None
    before, now = _mean(earlier), _mean(recent)
    noise = math.sqrt(_variance(earlier) / len(earlier) + _variance(recent) / len(recent))
    if before - now > REWARD_FALL * _mean(spreads) and before - now > REWARD_NOISE * noise:
        return f"The mean reward falls from {before:.3f} to {now:.3f}."
    return None


def entropy_collapse(history: Sequence[StepMetrics]) -> str | None:
    """The policy's entropy falls to a fraction of what it was, or to almost nothing."""
    entropies = _values(history[-RECENT:], lambda metrics: metrics.entropy)
    if len(entropies) == RECENT and max(entropies) < ENTROPY_FLOOR:
        return (
            f"Entropy has been below {ENTROPY_FLOOR} nats a token for {RECENT} steps (now {entropies[-1]:.4f}): the policy hardly explores."
        )
    windows = _windows(history)
    change = None if windows is None else _change(windows, lambda metrics: metrics.entropy)
    if change is not None and change[1] < ENTROPY_FALL * change[0]:
        return f"Entropy falls from {change[0]:.4f} to {change[1]:.4f} nats a token."
    return None


def kl_explosion(history: Sequence[StepMetrics]) -> str | None:
    """The KL from the reference (k3) multiplies within a few steps, and is large."""
    windows = _windows(history)
    change = None if windows is None else _change(windows, lambda metrics: metrics.kl_k3)
    if change is not None and change[1] >= KL_FLOOR and change[1] >= KL_GROWTH * change[0]:
        return f"KL from the reference grows from {change[0]:.4f} to {change[1]:.4f} nats a token."
    return None


def all_truncated(history: Sequence[StepMetrics]) -> str | None:
    """No response finished, for several steps."""
    last = history[-DEAD_STEPS:]
    if len(last) == DEAD_STEPS and all(metrics.completed_share == 0.0 for metrics in last):
        return (
            f"No response has finished within {last[-1].max_response_tokens} tokens for {DEAD_STEPS} steps: the context is too short, or "
            "the policy no longer writes its end token."
        )
    return None


def zero_advantage(history: Sequence[StepMetrics]) -> str | None:
    """No step of the last few could teach anything: nothing was kept, rewards were all equal, or no group had a contrast."""
    last = history[-DEAD_STEPS:]
    if len(last) < DEAD_STEPS:
        return None
    if all(metrics.kept_responses == 0 for metrics in last):
        return f"No response has taken part in the gradient for {DEAD_STEPS} steps."
    if all(metrics.reward_std == 0.0 for metrics in last):
        return f"All rewards of a step have been equal for {DEAD_STEPS} steps (now {last[-1].reward_mean}): every advantage is zero."
    if all(metrics.gradient_norm == 0.0 for metrics in last):
        return f"The gradient has been exactly zero for {DEAD_STEPS} steps: every advantage is zero."
    # With more rewards than one, a group of equal answers can still differ in the others.
    if all(
        len(metrics.reward_components) == 1 and math.isclose(metrics.all_right_share + metrics.all_wrong_share, 1.0) for metrics in last
    ):
        right = last[-1].all_right_share
        return (
            f"Every group has been all right or all wrong for {DEAD_STEPS} steps (now {right:.0%} right): no response beats its siblings."
        )
    return None


SIGNALS: Mapping[str, Signal] = {
    "NotFinite": not_finite,
    "LengthHacking": length_hacking,
    "RewardCollapse": reward_collapse,
    "EntropyCollapse": entropy_collapse,
    "KLExplosion": kl_explosion,
    "AllTruncated": all_truncated,
    "ZeroAdvantage": zero_advantage,
}


def _windows(history: Sequence[StepMetrics]) -> _Windows | None:
    if len(history) < RECENT + EARLIER:
        return None
    steps = history[-RECENT - EARLIER :]
    if steps[0].phase_index != steps[-1].phase_index:
        return None
    return _Windows(recent=steps[-RECENT:], earlier=steps[:EARLIER])


def _change(windows: _Windows, value: Callable[[StepMetrics], float | None]) -> tuple[float, float] | None:
    """Mean of the earlier and of the recent steps that have the value; None when either window has none."""
    earlier, recent = _values(windows.earlier, value), _values(windows.recent, value)
    return (_mean(earlier), _mean(recent)) if earlier and recent else None


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
