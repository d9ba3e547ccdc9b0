"""What a failure policy says of one stage and of one health signal: the run asks it, and reports the answers in its status, from which the
operator acts. So a run and its operator cannot read the policy differently.
"""

from __future__ import annotations

from typing import Literal

from reasonrl.api.failure_policy_spec import FailurePolicySpec, UnhealthyAction
from reasonrl.api.run_status import Stage

Action = Literal["none", "pause", "rollback"]
_ACTIONS: dict[UnhealthyAction, Action] = {"None": "none", "Pause": "pause", "Rollback": "rollback"}


def stage_deadline(policy: FailurePolicySpec, stage: Stage) -> int:
    """Seconds that a stage may last before the run counts as stalled."""
    deadlines = policy.stall_deadline_seconds
    by_stage: dict[Stage, int] = {
        "loading": deadlines.loading,
        "warmStart": deadlines.warm_start,
        "rollout": deadlines.rollout,
        "grade": deadlines.grade,
        "update": deadlines.update,
        "weightSync": deadlines.weight_sync,
        "checkpoint": deadlines.checkpoint,
        "evaluation": deadlines.evaluation,
    }
    return by_stage[stage]


def health_action(policy: FailurePolicySpec, signal: str) -> Action:
    """What a critical health signal leads to. A signal that the policy does not name is told of, and leads to nothing."""
    declared = policy.on_unhealthy
    by_signal: dict[str, UnhealthyAction] = {
        "NotFinite": declared.nan,
        "KLExplosion": declared.kl_explosion,
        "RewardCollapse": declared.reward_collapse,
        "EntropyCollapse": declared.entropy_collapse,
        "LengthHacking": declared.length_hacking,
        "Repetition": declared.repetition,
    }
    return _ACTIONS[by_signal.get(signal, "None")]
