"""What the run says of its own health, as conditions and as the actions that the failure policy declares for it.

The run judges, because it has the numbers; the job's failure policy, which it reads, says what follows. Here a critical signal becomes a
condition a person can read, a pause, or a roll-back to the last checkpoint that was healthy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reasonrl.api.run_status import HealthSignal, RunStatus
from reasonrl.controller.conditions import Judgement
from reasonrl.controller.situation import as_reason

CONDITION_OF_SIGNAL: Mapping[str, str] = {
    "RewardCollapse": "RewardHealthy",
    "NotFinite": "RewardHealthy",
    "EntropyCollapse": "RewardHealthy",
    "ZeroAdvantage": "RewardHealthy",
    "LengthHacking": "LengthHealthy",
    "AllTruncated": "LengthHealthy",
    "Repetition": "LengthHealthy",
    "KLExplosion": "KLWithinTarget",
}
"""A signal of a later release is taken for one of the reward's."""
HEALTH_CONDITIONS = ("RewardHealthy", "LengthHealthy", "KLWithinTarget")
_FINE = {
    "RewardHealthy": "rewards, losses and entropy are as they should be",
    "LengthHealthy": "response lengths are as they should be",
    "KLWithinTarget": "the policy is as close to the reference as it should be",
}
_RANK = {"ok": 0, "warning": 1, "critical": 2}


@dataclass(frozen=True, slots=True)
class Pause:
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Rollback:
    """`step` is that of a kept checkpoint."""

    step: int
    reason: str
    message: str


def health_conditions(run: RunStatus | None) -> dict[str, Judgement]:
    """Empty while the run has said nothing: what was known before stays."""
    if run is None:
        return {}
    return {type_: _judged(type_, [each for each in run.health if _condition_of(each) == type_]) for type_ in HEALTH_CONDITIONS}


def declared_action(run: RunStatus | None, status: Mapping[str, Any]) -> Pause | Rollback | None:
    """The action of the gravest signal that has one. A roll-back without a healthy checkpoint is a pause."""
    critical = [each for each in run.health if each.state == "critical"] if run is not None else []
    pausing = next((each for each in critical if each.action == "pause"), None)
    if pausing is not None:
        return Pause(_reason(pausing), f"paused because of {pausing.signal}: {pausing.message}")
    back = next((each for each in critical if each.action == "rollback"), None)
    if back is None or run is None:
        return None
    steps = [each.step for each in run.checkpoints if each.healthy]
    if not steps:
        steps = healthy_steps(status)
    if not steps:
        return Pause(_reason(back), f"paused because of {back.signal}: {back.message}. No healthy checkpoint is kept to roll back to")
    return Rollback(max(steps), _reason(back), f"{back.signal}: {back.message}")


def healthy_steps(status: Mapping[str, Any]) -> list[int]:
    return [each["step"] for each in _listed(status) if each.get("healthy") is not False]


def kept_steps(status: Mapping[str, Any]) -> set[int]:
    return {each["step"] for each in _listed(status)}


def _listed(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = status.get("checkpoints")
    if not isinstance(listed, Sequence):
        return []
    return [each for each in listed if isinstance(each, Mapping) and isinstance(each.get("step"), int)]


def _judged(type_: str, signals: list[HealthSignal]) -> Judgement:
    worst = max(signals, key=lambda each: _RANK[each.state], default=None)
    if worst is None or worst.state == "ok":
        return Judgement("True", "Healthy", _FINE[type_])
    # A warning is for a person to look at; only what is critical says that the run is not healthy.
    said = worst.message or worst.signal
    if worst.state == "critical":
        return Judgement("False", _reason(worst), f"{said} (declared action: {worst.action})")
    return Judgement("True", _reason(worst), f"{said} (a warning)")


def _condition_of(signal: HealthSignal) -> str:
    return CONDITION_OF_SIGNAL.get(signal.signal, "RewardHealthy")


def _reason(signal: HealthSignal) -> str:
    return as_reason(signal.signal, otherwise="Unhealthy")
