"""Held-out accuracy: a benchmark is sampled, graded and summed up in one record.

Accuracy is pass@1 as the mean over the samples of a question (avg@k), then over questions; its standard error is over questions,
because samples of one question are not independent. Answers that could not be scored are counted and left out, never counted as
wrong.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reasonrl.api.run_files import EvaluationMetrics
from reasonrl.rl.records import GradedGroup, Group, Prompt
from reasonrl.rollout.protocol import RolloutEngine, SamplingSetting
from reasonrl.run.seeds import derive_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """`max_response_tokens` None follows the phase."""

    name: str
    prompts: Sequence[Prompt]
    samples: int
    temperature: float
    top_p: float
    max_response_tokens: int | None


def evaluate(
    benchmark: Benchmark,
    engine: RolloutEngine,
    grade: Callable[[Sequence[Group], int], list[GradedGroup]],
    *,
    step: int,
    phase_name: str,
    phase_limit: int,
    seed: int,
) -> tuple[EvaluationMetrics, list[GradedGroup]]:
    """Samples and grades the whole benchmark with the engine's current weights. `grade` takes groups and the response limit."""
    started = time.monotonic()
    limit = benchmark.max_response_tokens or phase_limit
    setting = SamplingSetting(
        max_response_tokens=limit,
        temperature=benchmark.temperature,
        top_p=benchmark.top_p,
        # The same seed at every step: two evaluations then differ by their weights, not by their luck.
        seed=derive_seed(seed, f"evaluation/{benchmark.name}", 0),
    )
    sampled = engine.sample(benchmark.prompts, responses_per_prompt=benchmark.samples, setting=setting)
    groups = [
        Group(id=f"{benchmark.name}-{index}", prompt=prompt, responses=responses)
        for index, (prompt, responses) in enumerate(zip(benchmark.prompts, sampled, strict=True))
    ]
    graded = grade(groups, limit)
    return _summary(benchmark, graded, step=step, phase_name=phase_name, limit=limit, seconds=time.monotonic() - started), graded


def _summary(
    benchmark: Benchmark, graded: Sequence[GradedGroup], *, step: int, phase_name: str, limit: int, seconds: float
) -> EvaluationMetrics:
    by_question = [[float(grade.correct) for grade in each.grades if grade.correct is not None] for each in graded]
    means = [statistics.fmean(scores) for scores in by_question if scores]
    lengths: dict[bool | None, list[int]] = {True: [], False: [], None: []}
    truncated = 0
    for each in graded:
        for response, grade in zip(each.group.responses, each.grades, strict=True):
            lengths[grade.correct].append(int(response.tokens.numel()))
            truncated += response.truncated
    every = [length for bucket in lengths.values() for length in bucket]
    return EvaluationMetrics(
        step=step,
        time=time.time(),
        phase=phase_name,
        benchmark=benchmark.name,
        questions=len(graded),
        samples=benchmark.samples,
        temperature=benchmark.temperature,
        max_response_tokens=limit,
        accuracy=statistics.fmean(means) if means else 0.0,
        accuracy_error=statistics.stdev(means) / len(means) ** 0.5 if len(means) > 1 else 0.0,
        response_length_mean=statistics.fmean(every),
        correct_length_mean=statistics.fmean(lengths[True]) if lengths[True] else None,
        incorrect_length_mean=statistics.fmean(lengths[False]) if lengths[False] else None,
        truncated_share=truncated / len(every),
        unscored=len(lengths[None]),
        seconds=seconds,
    )
