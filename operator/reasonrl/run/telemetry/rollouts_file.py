"""Rollouts that a person can read: a few answers of each step, one JSON object a line, one file a step.

Curves say that something changed; only the answers say what. The lines are chosen without looking at their grades, so what they
show is what the policy does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice, zip_longest
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from reasonrl.api.run_files import ROLLOUTS_DIRECTORY
from reasonrl.rl.records import GradedGroup
from reasonrl.run.telemetry.telemetry_error import TelemetryError

_FILE_NAME = re.compile(r"(?:step-(?P<step>\d+)|evaluation-(?P<evaluation>\d+)-.+)\.jsonl")


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScoreLine(_Line):
    component: str
    outcome: str = Field(description="value, error, timeout or unscorable.")
    value: float | None = Field(description="None exactly when outcome is not value.")
    detail: str


class RolloutLine(_Line):
    """One response with all that is known of it. Lengths are in tokens, logs in nats."""

    step: int = Field(description="Step that sampled it; for a benchmark, optimizer steps done before.")
    benchmark: str | None = Field(default=None, description="None for a training response.")
    group_id: str
    question_id: str
    question: str
    answer: str = Field(description="Gold answer.")
    prompt: str = Field(description="What the policy saw.")
    response: str
    finish: str = Field(description="stop, or length when the limit of the phase cut it.")
    length: int
    reward: float | None = Field(description="Combined reward; None when it could not be scored.")
    correct: bool | None
    scores: tuple[ScoreLine, ...]
    weight_version: int
    logprob_mean: float | None = Field(description="Mean log-prob of its tokens as sampled; None for an empty response.")


def rollout_lines(graded: Sequence[GradedGroup], *, step: int, limit: int, benchmark: str | None = None) -> list[RolloutLine]:
    """The first `limit` responses, taken one from each group in turn: as many questions as possible, then more of each."""
    by_group = [[(each, index) for index in range(len(each.grades))] for each in graded]
    in_turn = (place for turn in zip_longest(*by_group) for place in turn if place is not None)
    return [_line(each, index, step=step, benchmark=benchmark) for each, index in islice(in_turn, limit)]


def _line(graded: GradedGroup, index: int, *, step: int, benchmark: str | None) -> RolloutLine:
    group, grade = graded.group, graded.grades[index]
    response, question = group.responses[index], group.prompt.question
    return RolloutLine(
        step=step,
        benchmark=benchmark,
        group_id=group.id,
        question_id=question.id,
        question=question.text,
        answer=question.answer,
        prompt=group.prompt.text,
        response=response.text,
        finish=response.finish.value,
        length=response.tokens.numel(),
        reward=grade.reward,
        correct=grade.correct,
        scores=tuple(ScoreLine(component=s.component, outcome=s.outcome.value, value=s.value, detail=s.detail) for s in grade.scores),
        weight_version=response.weight_version,
        logprob_mean=float(response.sampler_logprobs.mean()) if response.sampler_logprobs.numel() else None,
    )


class RolloutsDirectory:
    """`rollouts/step-000012.jsonl` and `rollouts/evaluation-000012-<benchmark>.jsonl`. A file appears whole or not at all."""

    def __init__(self, run_directory: Path) -> None:
        self.path = run_directory / ROLLOUTS_DIRECTORY

    def write(self, step: int, lines: Sequence[RolloutLine]) -> None:
        """Takes the place of what the step wrote before. No file for no lines."""
        self._write(f"step-{step:06d}.jsonl", lines)

    def write_evaluation(self, step: int, benchmark: str, lines: Sequence[RolloutLine]) -> None:
        self._write(f"evaluation-{step:06d}-{re.sub(r'[^A-Za-z0-9._-]', '_', benchmark)}.jsonl", lines)

    def resumed_at(self, step: int) -> None:
        """Forgets the files of steps from `step` on, and of evaluations after it."""
        if not self.path.is_dir():
            return
        for path in self.path.iterdir():
            name = _FILE_NAME.fullmatch(path.name)
            if name is None:
                continue
            redone = int(name["step"]) >= step if name["step"] else int(name["evaluation"]) > step
            if redone:
                path.unlink()

    def _write(self, name: str, lines: Sequence[RolloutLine]) -> None:
        if not lines:
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            aside = self.path / f".{name}"
            # Not synced: a step must not wait for the disk, and after a power cut the run does the steps since its checkpoint again.
            aside.write_bytes(b"".join(line.model_dump_json().encode() + b"\n" for line in lines))
            aside.replace(self.path / name)
        except OSError as error:
            raise TelemetryError(f"cannot write {self.path / name}: {error.strerror}") from error
