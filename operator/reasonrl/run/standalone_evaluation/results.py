"""From graded answers to `results.json`: accuracy, pass@k and majority with their intervals, lengths, and how many answers were finished.

Answers that could not be judged are counted and left out, never counted as wrong; a question without a judged answer has no score.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import groupby

from pydantic import BaseModel, ConfigDict, Field

from reasonrl.rl.answers.judging import MISSING
from reasonrl.rl.majority import majority_score
from reasonrl.rl.pass_statistics import Estimate, estimate, pass_at_k
from reasonrl.run.standalone_evaluation.answer_grading import AnswerGrader
from reasonrl.run.standalone_evaluation.answer_records import AnswerRecord

RESULTS_FILE = "results.json"


class Metric(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    low: float = Field(description="Lower end of the 95 % confidence interval over questions.")
    high: float
    interval: str = Field(description="wilson where every question's score is 0 or 1, otherwise bootstrap over questions.")
    standard_error: float | None = Field(description="Over questions; None of a single one.")
    questions: int = Field(description="Questions with a score; for pass@k those with at least k judged answers.")


class BenchmarkResult(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark: str
    questions: int
    samples: int
    answers: int
    metrics: dict[str, Metric] = Field(description="avg@k, pass@j for j = 1, 2, 4, … up to k, and maj@k; empty when nothing was judged.")
    length_mean: float | None = Field(description="Response tokens; None when no answer's length is known.")
    correct_length_mean: float | None
    incorrect_length_mean: float | None
    finished_share: float = Field(description="Share of answers that ended by themselves, within the limit.")
    missing_share: float = Field(description="Share of answers in which no final answer was found.")
    verdicts: dict[str, int]
    unjudged: int = Field(description="Answers that are neither right nor wrong: unscorable, timeout or error.")
    majority_by_text: int = Field(description="Questions whose answers were compared by their text, because comparing them took too long.")

    @property
    def accuracy(self) -> Metric | None:
        return self.metrics.get(f"avg@{self.samples}")


def summarised(benchmark: str, records: Sequence[AnswerRecord], *, samples: int, grader: AnswerGrader) -> BenchmarkResult:
    """`records` are all answers of the benchmark, by question."""
    by_question = [list(each) for _, each in groupby(records, key=lambda record: record.question_index)]
    counted = [[record.correct for record in each if record.correct is not None] for each in by_question]
    metrics: dict[str, Metric] = {}
    by_text = 0
    judged = [verdicts for verdicts in counted if verdicts]
    if judged:
        metrics[f"avg@{samples}"] = _metric(estimate([statistics.fmean(verdicts) for verdicts in judged]))
        for k in pass_sizes(samples):
            enough = [pass_at_k(len(verdicts), sum(verdicts), k) for verdicts in judged if len(verdicts) >= k]
            if enough:
                metrics[f"pass@{k}"] = _metric(estimate(enough))
    if judged and samples > 1:
        asked = [[record.judged for record in each] for each, verdicts in zip(by_question, counted, strict=True) if verdicts]
        votes, by_text = grader.votes(asked)
        metrics[f"maj@{samples}"] = _metric(estimate([majority_score(each) for each in votes]))
    verdicts = [record.verdict for record in records]
    return BenchmarkResult(
        benchmark=benchmark,
        questions=len(by_question),
        samples=samples,
        answers=len(records),
        metrics=metrics,
        length_mean=_mean_length(records),
        correct_length_mean=_mean_length([record for record in records if record.correct is True]),
        incorrect_length_mean=_mean_length([record for record in records if record.correct is False]),
        finished_share=sum(record.finish == "stop" for record in records) / len(records),
        missing_share=verdicts.count(MISSING) / len(records),
        verdicts={verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))},
        unjudged=sum(record.correct is None for record in records),
        majority_by_text=by_text,
    )


def pass_sizes(samples: int) -> list[int]:
    """1, 2, 4, … and `samples` itself."""
    powers = [2**power for power in range(samples.bit_length()) if 2**power < samples]
    return [*powers, samples]


def mean_accuracy(results: Sequence[BenchmarkResult]) -> float | None:
    """Of several benchmarks, each counting alike, as in the report's tables; None of one, or when one has no accuracy."""
    found = [result.accuracy for result in results]
    if len(found) < 2 or any(each is None for each in found):
        return None
    return statistics.fmean(each.value for each in found if each is not None)


def _metric(of: Estimate) -> Metric:
    return Metric(
        value=of.value,
        low=of.interval.low,
        high=of.interval.high,
        interval=of.interval.method,
        standard_error=of.standard_error,
        questions=of.questions,
    )


def _mean_length(records: Sequence[AnswerRecord]) -> float | None:
    known = [record.length for record in records if record.length is not None]
    return statistics.fmean(known) if known else None
