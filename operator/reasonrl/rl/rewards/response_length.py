"""The reward on response length (STILL-3 section 4.2, RRL): `L / L_max`, added to the correctness reward of ±1.

With ±1 and a weight of 1 every right answer is worth more than every wrong one, and the longer is worth more within either. The report
found that the length then grows for its own sake.
"""

from __future__ import annotations

from reasonrl.api.reward_spec import ResponseLengthReward
from reasonrl.rl.records import Outcome, Score
from reasonrl.rl.rewards.component import Component, RewardContext, Scored, Submission


def length_share(length: int, *, longest: int) -> float:
    """`length / longest`, at most 1; both in tokens."""
    return min(length / longest, 1.0)


def make_response_length(spec: ResponseLengthReward, _context: RewardContext) -> Component:
    """Against `max_tokens`, or else the limit of the phase that sampled the response. The score's `detail` says the length."""

    def score(submission: Submission) -> Scored:
        longest = spec.max_tokens or submission.max_response_tokens
        value = length_share(submission.tokens, longest=longest)
        return Scored(Score(spec.type, Outcome.VALUE, value, f"{submission.tokens} of {longest} tokens"))

    return Component(name=spec.type, weight=spec.weight, gate=False, score=score)
