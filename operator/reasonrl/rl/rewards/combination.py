"""From component scores to one reward: Σ weight × value, and then every gate multiplies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WeighedValue:
    """One component's value of one response; None when it could not be scored. A gate's value is 0 or 1 and its weight is unused."""

    value: float | None
    weight: float
    gate: bool


def combined_reward(parts: Sequence[WeighedValue]) -> float | None:
    """None when any part has no value: a reward that is only half known would move the group's baseline by accident."""
    if any(part.value is None for part in parts):
        return None
    reward = sum(part.weight * part.value for part in parts if not part.gate and part.value is not None)
    for part in parts:
        if part.gate and part.value is not None:
            reward *= part.value
    return float(reward)
