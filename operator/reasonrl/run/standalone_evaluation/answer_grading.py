"""Judging answers, and finding out which of them agree, in the sandbox: they are texts that a model wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from reasonrl.rl.answers.judging import CORRECT, INCORRECT, MISSING
from reasonrl.rl.majority import CORRECT_CLASS, answer_classes
from reasonrl.run.grading import JUDGE
from reasonrl.run.standalone_evaluation.setting import GradingChoice
from reasonrl.sandbox.calls import Call, CallOutcome, CallResult, FunctionReference
from reasonrl.sandbox.pool import WorkerPool

_GROUP = FunctionReference(name=answer_classes.__name__, module=answer_classes.__module__)
_GROUPING_LIMITS = 4
"""Grouping may take as long as this many judgements: it makes a few comparisons for each answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """`verdict` is correct, incorrect, missing, unscorable, timeout or error; `extracted` the final answer as written, at most 200
    characters."""

    verdict: str
    detail: str
    extracted: str

    @property
    def correct(self) -> bool | None:
        """None: it could not be judged, and counts neither as right nor as wrong."""
        if self.verdict in (INCORRECT, MISSING):
            return False
        return True if self.verdict == CORRECT else None


class AnswerGrader:
    """Use as a context manager: inside it the workers run, from the first answer on. Raises SandboxError when none can be started."""

    def __init__(self, choice: GradingChoice, *, workers: int) -> None:
        self._choice = choice
        self._pool = WorkerPool(workers=workers, preload=[JUDGE, _GROUP])
        self._started = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def judge(self, answers: Sequence[tuple[str, str]], *, tags: bool) -> list[Judged]:
        """Of each response and its gold answer."""
        calls = [
            Call(
                function=JUDGE,
                arguments={"response": response, "answer": gold, "tags": tags, "require_boxed": self._choice.require_boxed},
                timeout_seconds=self._choice.timeout_seconds,
            )
            for response, gold in answers
        ]
        return [_judged(result) for result in self._run(calls)]

    def votes(self, questions: Sequence[Sequence[Judged]]) -> tuple[list[list[str | None]], int]:
        """For each question the votes of its answers (see `majority_score`), and for how many questions the comparison did not end in time,
        so that their answers vote by their text.

        All right answers are one: each of them equals the gold answer. The others are compared with one another.
        """
        wrong = [[each.extracted if _votes_wrong(each) else "" for each in judged] for judged in questions]
        asked = [index for index, answers in enumerate(wrong) if len({answer for answer in answers if answer}) > 1]
        calls = [
            Call(
                function=_GROUP,
                arguments={"answers": wrong[index]},
                timeout_seconds=self._choice.timeout_seconds * _GROUPING_LIMITS,
            )
            for index in asked
        ]
        grouped: dict[int, list[str]] = {index: list(answers) for index, answers in enumerate(wrong)}
        by_text = 0
        for index, result in zip(asked, self._run(calls), strict=True):
            if result.outcome is CallOutcome.VALUE and isinstance(result.value, list):
                grouped[index] = [str(one) for one in result.value]
            else:
                by_text += 1
        votes: list[list[str | None]] = [
            [
                CORRECT_CLASS if each.correct else f"wrong {name}" if _votes_wrong(each) else None
                for each, name in zip(judged, grouped[index], strict=True)
            ]
            for index, judged in enumerate(questions)
        ]
        return votes, by_text

    def _run(self, calls: Sequence[Call]) -> list[CallResult]:
        """A call whose worker died is made once more, as when a run grades: it may have been killed from outside."""
        if not calls:
            return []
        if not self._started:
            self._pool.__enter__()
            self._started = True
        results = self._pool.run(calls)
        died = [index for index, result in enumerate(results) if result.outcome is CallOutcome.CRASH]
        if died:
            for index, result in zip(died, self._pool.run([calls[index] for index in died]), strict=True):
                results[index] = result
        return results


def _votes_wrong(judged: Judged) -> bool:
    return judged.correct is False and bool(judged.extracted.strip())


def _judged(result: CallResult) -> Judged:
    if result.outcome is CallOutcome.VALUE and isinstance(result.value, dict):
        value = result.value
        return Judged(verdict=str(value["verdict"]), detail=str(value["detail"]), extracted=str(value["extracted"]))
    verdict = "timeout" if result.outcome is CallOutcome.TIMEOUT else "error"
    return Judged(verdict=verdict, detail=result.detail, extracted="")
