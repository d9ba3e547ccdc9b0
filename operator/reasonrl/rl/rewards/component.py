"""What a reward component is: a function from one response to its score, or to the call that has to be made for it.

Some rewards only look at the response; others run code that is not trusted. For those `rl` says what to run and how to read what comes
back, and whoever drives the grading runs it; so components stay pure and are tested without a process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from reasonrl.rl.records import Outcome, Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One response as a reward sees it. `text` is the response without its end token; `prefix` is what the prompt had already written
    of it (`<think>` or nothing). Lengths are in tokens, the end token included."""

    text: str
    prefix: str
    question: str
    answer: str
    fields: Mapping[str, object]
    tokens: int
    max_response_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFunction:
    """A function of `module`, or of the Python file `file`, to be run where code that is not trusted runs."""

    name: str
    module: str | None = None
    file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteCall:
    """`optional` arguments are passed as far as the function takes them. `timeout_seconds` is wall-clock time."""

    function: RemoteFunction
    arguments: Mapping[str, object]
    optional: Mapping[str, object] = field(default_factory=dict)
    timeout_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteReply:
    """What became of a call. `value` is what the function returned, when `outcome` is VALUE."""

    outcome: Outcome
    value: object = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Scored:
    """A score, and whether it says that the answer is right: None where the component does not judge answers, or could not."""

    score: Score
    correct: bool | None = None


def _no_reply(reply: RemoteReply) -> Scored:
    raise ValueError(f"this component makes no calls, and was given the reply {reply}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One entry of `spec.rewards`.

    `score` gives the score at once, or the call that yields it; `read` turns the reply to that call into the score. A `gate` multiplies
    the combined reward, the others are added with their weight. `judges` says whose verdict counts as accuracy: the `answer` component's
    where there is one, else the sign of the first `value`. `runs` is the function that its calls run.
    """

    name: str
    weight: float
    gate: bool
    score: Callable[[Submission], Scored | RemoteCall]
    read: Callable[[RemoteReply], Scored] = _no_reply
    judges: Literal["answer", "value"] | None = None
    runs: RemoteFunction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardContext:
    """What components must know of the run besides their own fields. `uses_tags`: the prompt asks for `<answer>` tags.
    `base_directory`: what the paths in the job are relative to."""

    uses_tags: bool
    base_directory: Path
