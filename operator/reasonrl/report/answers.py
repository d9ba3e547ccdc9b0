"""The answers that a report shows: the same questions early and late.

Curves say that something changed, answers say what. Which ones are shown is decided by place in the files and never by grade, so
that nobody, not even by accident, picks the flattering ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reasonrl.api.run_files import ROLLOUTS_DIRECTORY
from reasonrl.report.json_lines import read_json_lines

_TRAINING_FILE = re.compile(r"step-(\d+)\.jsonl")
_EVALUATION_FILE = re.compile(r"evaluation-(\d+)-(.+)\.jsonl")
_FILES_AT_EACH_END = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownScore:
    component: str
    outcome: str
    value: float | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One line of a rollouts file, as far as a page needs it."""

    step: int
    benchmark: str | None
    question_id: str
    question: str
    gold: str
    response: str
    truncated: bool
    length: int
    reward: float | None
    correct: bool | None
    scores: tuple[ShownScore, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPair:
    """An early and a late answer, to the same question unless `same_question` is false. `late` is None in a run too short to have one."""

    early: Answer
    late: Answer | None

    @property
    def same_question(self) -> bool:
        return self.late is None or (self.early.question_id, self.early.question) == (self.late.question_id, self.late.question)


def answer_pairs(run_directory: Path, *, limit: int) -> list[AnswerPair]:
    """Up to `limit` pairs: held-out questions at the first and the last evaluation where there are any, else training questions that
    came both in the first and the last files, else the first questions of the first and of the last file."""
    directory = run_directory / ROLLOUTS_DIRECTORY
    if not directory.is_dir():
        return []
    names = sorted(path.name for path in directory.iterdir())
    held_out = _evaluation_ends(names)
    if held_out is not None:
        return _pairs(read_answers(directory / held_out[0]), read_answers(directory / held_out[1]), limit)
    training = [name for name in names if _TRAINING_FILE.fullmatch(name)]
    if len(training) < 2:
        return [AnswerPair(early=each, late=None) for name in training for each in _one_a_question(read_answers(directory / name))][:limit]
    reach = min(_FILES_AT_EACH_END, len(training) // 2)
    early = [answer for name in training[:reach] for answer in read_answers(directory / name)]
    late = [answer for name in reversed(training[-reach:]) for answer in read_answers(directory / name)]
    return _pairs(early, late, limit)


def read_answers(path: Path) -> list[Answer]:
    """The answers of one file. Lines that lack what a page needs are left out."""
    answers = (_answer(line) for line in read_json_lines(path).objects)
    return [answer for answer in answers if answer is not None]


def _evaluation_ends(names: Sequence[str]) -> tuple[str, str] | None:
    by_benchmark: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        match = _EVALUATION_FILE.fullmatch(name)
        if match:
            by_benchmark.setdefault(match[2], []).append((int(match[1]), name))
    for found in by_benchmark.values():
        if len(found) > 1:
            return min(found)[1], max(found)[1]
    return None


def _pairs(early: Sequence[Answer], late: Sequence[Answer], limit: int) -> list[AnswerPair]:
    first, last = _one_a_question(early), _one_a_question(late)
    by_question = {(answer.question_id, answer.question): answer for answer in last}
    both = [
        AnswerPair(early=answer, late=by_question[answer.question_id, answer.question])
        for answer in first
        if (answer.question_id, answer.question) in by_question
    ]
    if both:
        return both[:limit]
    return [AnswerPair(early=one, late=other) for one, other in zip(first, last, strict=False)][:limit]


def _one_a_question(answers: Iterable[Answer]) -> list[Answer]:
    """The first answer to each question, in order."""
    found: dict[tuple[str, str], Answer] = {}
    for answer in answers:
        found.setdefault((answer.question_id, answer.question), answer)
    return list(found.values())


def _answer(line: Mapping[str, object]) -> Answer | None:
    step, response = line.get("step"), line.get("response")
    if not isinstance(step, int) or not isinstance(response, str):
        return None
    benchmark, correct, scores = line.get("benchmark"), line.get("correct"), line.get("scores")
    length = line.get("length")
    return Answer(
        step=step,
        benchmark=benchmark if isinstance(benchmark, str) else None,
        question_id=str(line.get("question_id", "")),
        question=str(line.get("question", "")),
        gold=str(line.get("answer", "")),
        response=response,
        truncated=line.get("finish") == "length",
        length=length if isinstance(length, int) else 0,
        reward=_number(line.get("reward")),
        correct=correct if isinstance(correct, bool) else None,
        scores=tuple(_score(score) for score in scores if isinstance(score, dict)) if isinstance(scores, list) else (),
    )


def _score(score: Mapping[str, object]) -> ShownScore:
    return ShownScore(
        component=str(score.get("component", "")),
        outcome=str(score.get("outcome", "")),
        value=_number(score.get("value")),
        detail=str(score.get("detail") or ""),
    )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
