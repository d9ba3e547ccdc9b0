"""Rules of spec.selection."""

from __future__ import annotations

from collections.abc import Iterator

from reasonrl.api.job import JobSpec
from reasonrl.api.problems import Problem
from reasonrl.api.reward_spec import AnswerReward, FunctionReward
from reasonrl.api.selection_spec import AccuracyWindow, DynamicSampling

OF_VERDICTS = ("questionSelection", "responseSelection", "accuracyWindow", "dynamicSampling")
"""Rules that look at which answers are right."""
NO_VERDICTS = "looks at which answers are right, and no reward of this job says so; add {type: answer}, or a function of yours"
ONE_RESPONSE = "compares the responses to a question, so algorithm.rolloutsPerPrompt must be at least 2"
NO_WINDOW = "above must be less than below, or no question is ever kept"
AHEAD = (
    "dynamicSampling replaces questions of the step that it is at, and with maxStaleness the questions after them are sampled already; use "
    "maxStaleness: 0"
)


def selection_problems(spec: JobSpec) -> Iterator[Problem]:
    verdicts = any(isinstance(reward, AnswerReward | FunctionReward) for reward in spec.rewards)
    for index, rule in enumerate(spec.selection):
        path = f"spec.selection[{index}]"
        if any(rule.type == earlier.type for earlier in spec.selection[:index]):
            yield Problem(f"{path}.type", rule.type, "is there already, and would find nothing left to take out; remove one of them")
            continue
        if rule.type in OF_VERDICTS and not verdicts:
            yield Problem(f"{path}.type", rule.type, NO_VERDICTS)
        if rule.type in OF_VERDICTS and spec.algorithm.rollouts_per_prompt < 2:
            yield Problem(f"{path}.type", rule.type, ONE_RESPONSE)
        if isinstance(rule, AccuracyWindow) and rule.above >= rule.below:
            yield Problem(f"{path}.above", rule.above, f"{NO_WINDOW} (below: {rule.below:g})")
        if isinstance(rule, DynamicSampling) and spec.rollout.max_staleness:
            yield Problem("spec.rollout.maxStaleness", spec.rollout.max_staleness, AHEAD)
