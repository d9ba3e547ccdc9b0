"""The reward on reasoning actions (STILL-3 section 4.2, RRA): `min(A, A_max) / A_max`, added to the correctness reward of ±1, where `A` is
how often the response uses words of reflection. The cap keeps a policy from being paid for nothing but these words."""

from __future__ import annotations

from reasonrl.api.reward_spec import ReasoningActionsReward
from reasonrl.rl.keywords import keyword_pattern
from reasonrl.rl.records import Outcome, Score
from reasonrl.rl.rewards.component import Component, RewardContext, Scored, Submission


def capped_share(count: int, *, cap: int) -> float:
    return min(count, cap) / cap


def make_reasoning_actions(spec: ReasoningActionsReward, _context: RewardContext) -> Component:
    """Counts in the response alone: what the prompt wrote of it shows such words as examples. The score's `detail` says the count."""
    pattern = keyword_pattern(spec.words)

    def score(submission: Submission) -> Scored:
        count = sum(1 for _ in pattern.finditer(submission.text))
        return Scored(Score(spec.type, Outcome.VALUE, capped_share(count, cap=spec.max_actions), f"{count} actions"))

    return Component(name=spec.type, weight=spec.weight, gate=False, score=score)
