"""DAPO's soft overlong punishment (arXiv 2503.14476, eq. 13): a response learns to finish before it is cut."""

from __future__ import annotations

from reasonrl.api.reward_spec import OverlongReward
from reasonrl.rl.records import Outcome, Score
from reasonrl.rl.rewards.component import Component, RewardContext, Scored, Submission


def overlong_punishment(length: int, *, limit: int, buffer: int) -> float:
    """0 up to `limit − buffer`, then falling linearly to −1 at `limit`; all in tokens. A response cut at the limit gets −1."""
    free = limit - buffer
    if length <= free:
        return 0.0
    return max((free - length) / buffer, -1.0)


def make_overlong(spec: OverlongReward, _context: RewardContext) -> Component:
    """The punishment against the limit of the phase that sampled the response."""

    def score(submission: Submission) -> Scored:
        value = overlong_punishment(submission.tokens, limit=submission.max_response_tokens, buffer=spec.buffer_tokens)
        return Scored(Score(spec.type, Outcome.VALUE, value))

    return Component(name=spec.type, weight=spec.weight, gate=False, score=score)
