"""Rules of spec.evaluation."""

from __future__ import annotations

from collections.abc import Iterator

from reasonrl.api.evaluation_spec import BenchmarkSpec
from reasonrl.api.job import JobSpec
from reasonrl.api.problems import Problem
from reasonrl.api.validation.data import shared_questions, source_problems
from reasonrl.api.validation.model import prompt_problems
from reasonrl.api.validation.rewards import has_answer

REWARD_METRIC = "reward"


def evaluation_problems(spec: JobSpec) -> Iterator[Problem]:
    benchmarks = spec.evaluation.benchmarks
    if benchmarks and not has_answer(spec):
        yield Problem(
            "spec.evaluation.benchmarks",
            None,
            "accuracy is the verdict of the answer reward, which this job has not; add {type: answer} to rewards (weight: 0 measures "
            "without paying)",
        )
    for index, benchmark in enumerate(benchmarks):
        path = f"spec.evaluation.benchmarks[{index}]"
        yield from source_problems(path, benchmark)
        if any(benchmark.name == other.name for other in benchmarks[:index]):
            yield Problem(f"{path}.name", benchmark.name, "two benchmarks have this name; their results could not be told apart")
        if benchmark.name == REWARD_METRIC:
            yield Problem(f"{path}.name", benchmark.name, "this name stands for the training reward in checkpoint.keepBest; use another")
        if benchmark.temperature == 0 and benchmark.samples > 1:
            yield Problem(
                f"{path}.samples",
                benchmark.samples,
                "at temperature 0 all samples of a question are the same; use samples: 1, or a temperature",
            )
        if benchmark.prompt is not None:
            yield from prompt_problems(f"{path}.prompt", benchmark.prompt)
        yield from _held_out(path, benchmark, spec)


def _held_out(path: str, benchmark: BenchmarkSpec, spec: JobSpec) -> Iterator[Problem]:
    trained = [(f"spec.data.train[{index}]", source) for index, source in enumerate(spec.data.train)]
    if spec.sft is not None:
        trained += [(f"spec.sft.train[{index}]", source) for index, source in enumerate(spec.sft.train)]
    for where, source in trained:
        reason = shared_questions(benchmark, source)
        if reason is not None:
            yield Problem(path, benchmark.name, f"is no held-out set, because {where} has its questions: {reason}")
