"""Rules of spec.rewards."""

from __future__ import annotations

from collections.abc import Iterator

from reasonrl.api.job import JobSpec
from reasonrl.api.problems import Problem
from reasonrl.api.reward_spec import (
    AnswerReward,
    FormatReward,
    FunctionReward,
    OverlongReward,
    ReasoningActionsReward,
    ResponseLengthReward,
)

BLIND = (OverlongReward, ResponseLengthReward, ReasoningActionsReward)
BLIND_ALONE = (
    "overlong, responseLength and reasoningActions pay for how long a response is and for its words, whatever it answers; add {type: "
    "answer}, or a function of yours"
)

NEGATIVE_ACTIONS = "a negative weight pays for responses without reflection; make it positive, or remove it"


def has_answer(spec: JobSpec) -> bool:
    """Whether accuracy is known: it is the verdict of the answer component alone."""
    return any(isinstance(reward, AnswerReward) for reward in spec.rewards)


def reward_problems(spec: JobSpec) -> Iterator[Problem]:
    yield from _sum(spec)
    yield from _repeated(spec)
    for index, reward in enumerate(spec.rewards):
        path = f"spec.rewards[{index}]"
        match reward:
            case AnswerReward():
                yield from _answer(path, reward)
            case FormatReward(mode="gate") if reward.weight != 1.0:
                yield Problem(
                    f"{path}.weight",
                    reward.weight,
                    "a gate multiplies the sum by 0 or 1 and has no weight; use mode: additive, or remove it",
                )
            case OverlongReward():
                yield from _overlong(path, reward, spec)
            case ReasoningActionsReward() if reward.weight < 0:
                yield Problem(f"{path}.weight", reward.weight, NEGATIVE_ACTIONS)
            case _:
                pass


def _sum(spec: JobSpec) -> Iterator[Problem]:
    summed = [reward for reward in spec.rewards if not (isinstance(reward, FormatReward) and reward.mode == "gate")]
    if not summed:
        yield Problem(
            "spec.rewards",
            None,
            "a format gate only multiplies the other rewards, and there are none, so every reward is 0; add {type: answer}",
        )
    elif all(reward.weight == 0 for reward in summed):
        yield Problem("spec.rewards", None, "every weight is 0, so every reward is 0 and nothing is learnt; give at least one a weight")
    elif all(isinstance(reward, BLIND) for reward in summed):
        yield Problem("spec.rewards", None, BLIND_ALONE)


def _repeated(spec: JobSpec) -> Iterator[Problem]:
    seen: set[tuple[str, ...]] = set()
    for index, reward in enumerate(spec.rewards):
        identity = (reward.type, reward.path, reward.function) if isinstance(reward, FunctionReward) else (reward.type,)
        if identity in seen:
            what = "this function is" if isinstance(reward, FunctionReward) else f"{reward.type} is"
            yield Problem(
                f"spec.rewards[{index}]",
                reward.type,
                f"{what} a reward already, and their metrics would have one name; keep one and raise its weight",
            )
        seen.add(identity)


def _answer(path: str, reward: AnswerReward) -> Iterator[Problem]:
    if reward.correct <= reward.incorrect:
        yield Problem(
            f"{path}.correct", reward.correct, f"a right answer must be worth more than a wrong one (incorrect: {reward.incorrect:g})"
        )
    if reward.correct <= reward.missing:
        yield Problem(f"{path}.missing", reward.missing, f"no answer must be worth less than a right one (correct: {reward.correct:g})")
    if reward.weight < 0:
        yield Problem(f"{path}.weight", reward.weight, "a negative weight pays for wrong answers; make it positive")


def _overlong(path: str, reward: OverlongReward, spec: JobSpec) -> Iterator[Problem]:
    if reward.weight < 0:
        yield Problem(
            f"{path}.weight", reward.weight, "the value is a punishment, 0 to −1, already; a negative weight would pay for length"
        )
    shortest = min(spec.phases, key=lambda phase: phase.max_response_tokens)
    if reward.buffer_tokens >= shortest.max_response_tokens:
        yield Problem(
            f"{path}.bufferTokens",
            reward.buffer_tokens,
            f"must be less than maxResponseTokens of every phase ({shortest.name} has {shortest.max_response_tokens}), or even the "
            f"shortest response is punished there; a fifth of it, {max(shortest.max_response_tokens // 5, 1)}, is usual",
        )
