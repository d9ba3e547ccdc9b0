"""The records that flow through one step of a run.

Every part of the loop hands the next one plain values: questions become prompts, prompts become groups of responses, responses
get grades, grades become advantages. They live here, beneath the engines, so that rollout, training and rewards share words
without importing each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import torch


class FinishReason(StrEnum):
    """Why a response ended."""

    STOP = "stop"
    """The policy wrote an end token."""
    LENGTH = "length"
    """The context limit of the phase cut it: the response is *truncated*."""


@dataclass(frozen=True, slots=True)
class Question:
    """One row of a question source. `fields` are the source's other columns, handed to user reward functions."""

    id: str
    text: str
    answer: str
    source: str
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question in its template. `text` is what the policy sees, `tokens` the same as ids."""

    question: Question
    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Response:
    """One sampled answer.

    `tokens` int64 `[time]` includes the end token when `finish` is STOP. `sampler_logprobs` float32 `[time]` are the
    log-probabilities (nats) of those tokens under the distribution that was sampled from, temperature included.
    `text` is the decoded response without the end token. `weight_version` is the step whose weights wrote it.
    """

    tokens: torch.Tensor
    sampler_logprobs: torch.Tensor
    finish: FinishReason
    weight_version: int
    text: str

    @property
    def truncated(self) -> bool:
        return self.finish is FinishReason.LENGTH


@dataclass(frozen=True, slots=True)
class Group:
    """All responses to one prompt in one step. `id` is unique in the run (never a hash of the prompt)."""

    id: str
    prompt: Prompt
    responses: tuple[Response, ...]


class Outcome(StrEnum):
    """What became of one attempt to score one response."""

    VALUE = "value"
    ERROR = "error"
    """The reward code raised, or its process died."""
    TIMEOUT = "timeout"
    """The wall-clock limit ended it."""
    UNSCORABLE = "unscorable"
    """The reward declined: for example a gold answer that cannot be parsed."""


@dataclass(frozen=True, slots=True)
class Score:
    """One reward component on one response. `value` is None exactly when `outcome` is not VALUE; `detail` says why."""

    component: str
    outcome: Outcome
    value: float | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Grade:
    """All that is known of one response's worth.

    `reward` is the combined reward, or None when any component could not score it: such a response leaves the group's baseline
    and the gradient. `correct` is the answer component's verdict alone (accuracy is computed from it, never from the reward).
    """

    reward: float | None
    correct: bool | None
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class GradedGroup:
    """A group with one grade for each response, in the same order."""

    group: Group
    grades: tuple[Grade, ...]
