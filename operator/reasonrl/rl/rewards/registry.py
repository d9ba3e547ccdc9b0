"""The rewards by their `type` in the spec. A new one is one file here, one model in `api/reward_spec.py` and one line below."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reasonrl.api.reward_spec import Reward
from reasonrl.rl.rewards.answer import make_answer
from reasonrl.rl.rewards.component import Component, RewardContext
from reasonrl.rl.rewards.format import make_format
from reasonrl.rl.rewards.function import make_function
from reasonrl.rl.rewards.overlong import make_overlong
from reasonrl.rl.rewards.reasoning_actions import make_reasoning_actions
from reasonrl.rl.rewards.response_length import make_response_length

# Any: each maker takes its own model, and the union's `type` picks the maker.
REWARDS: Mapping[str, Callable[[Any, RewardContext], Component]] = {
    "answer": make_answer,
    "format": make_format,
    "function": make_function,
    "overlong": make_overlong,
    "reasoningActions": make_reasoning_actions,
    "responseLength": make_response_length,
}


def make_components(specs: Sequence[Reward], context: RewardContext) -> tuple[Component, ...]:
    """The components of a job, in its order."""
    return tuple(REWARDS[spec.type](spec, context) for spec in specs)
