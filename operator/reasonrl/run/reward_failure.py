"""Telling a broken reward from a hard question: when nothing of a step can be scored, going on would burn compute and learn nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from reasonrl.rl.records import GradedGroup, Outcome


class RewardFailureError(Exception):
    """No response of a step could be scored; the message carries the first reason given."""


def check_rewards(graded: Sequence[GradedGroup]) -> None:
    """Raises RewardFailureError when not a single response has a reward."""
    if any(grade.reward is not None for each in graded for grade in each.grades):
        return
    failures = [score for each in graded for grade in each.grades for score in grade.scores if score.outcome is not Outcome.VALUE]
    counts = Counter(f"{score.component} {score.outcome.value}" for score in failures)
    listed = ", ".join(f"{name} × {count}" for name, count in counts.most_common())
    first = next((f"{score.component}: {score.detail}" for score in failures if score.detail), "no detail was given")
    raise RewardFailureError(f"not one response of this step could be scored ({listed}). The first reason: {first}")
