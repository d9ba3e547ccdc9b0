"""Held-out accuracy is a mean over questions of a mean over samples."""

from __future__ import annotations

import pytest
import torch

from reasonrl.rl.records import FinishReason, Grade, GradedGroup, Prompt, Question, Response
from reasonrl.run.evaluation import Benchmark, evaluate


class ScriptedEngine:
    """Answers question i with responses of the lengths and finish reasons given, and keeps the settings it was asked with."""

    weight_version = 3

    def __init__(self, lengths: list[list[int]], limit: int) -> None:
        self.lengths, self.limit, self.settings = lengths, limit, []

    def sample(self, prompts, *, responses_per_prompt, setting):
        self.settings.append(setting)
        assert [len(row) for row in self.lengths] == [responses_per_prompt] * len(prompts)
        return [
            tuple(
                Response(
                    tokens=torch.zeros(length, dtype=torch.long),
                    sampler_logprobs=torch.zeros(length),
                    finish=FinishReason.LENGTH if length == self.limit else FinishReason.STOP,
                    weight_version=3,
                    text="",
                )
                for length in row
            )
            for row in self.lengths
        ]


def benchmark(count: int, samples: int, limit: int | None = None) -> Benchmark:
    prompts = [Prompt(question=Question(id=str(index), text="", answer="", source=""), text="", tokens=(1,)) for index in range(count)]
    return Benchmark(name="b", prompts=prompts, samples=samples, temperature=0.6, top_p=0.95, max_response_tokens=limit)


def verdicts(table: list[list[bool | None]]):
    def grade(groups, limit):
        return [
            GradedGroup(group, tuple(Grade(reward=None, correct=verdict, scores=()) for verdict in row))
            for group, row in zip(groups, table, strict=True)
        ]

    return grade


def run(engine: ScriptedEngine, table: list[list[bool | None]], limit: int | None = None):
    metrics, _ = evaluate(
        benchmark(len(table), len(table[0]), limit), engine, verdicts(table), step=12, phase_name="p", phase_limit=64, seed=5
    )
    return metrics


def test_accuracy_and_its_error_are_over_questions() -> None:
    metrics = run(ScriptedEngine([[4, 6], [8, 10], [12, 14]], 64), [[True, True], [True, False], [False, False]])
    assert metrics.accuracy == pytest.approx(0.5)
    # Means 1, ½, 0: standard deviation ½, over √3.
    assert metrics.accuracy_error == pytest.approx(0.5 / 3**0.5)
    assert metrics.correct_length_mean == pytest.approx((4 + 6 + 8) / 3)
    assert metrics.incorrect_length_mean == pytest.approx((10 + 12 + 14) / 3)
    assert (metrics.step, metrics.questions, metrics.samples) == (12, 3, 2)


def test_an_unscored_answer_is_counted_and_not_wrong() -> None:
    metrics = run(ScriptedEngine([[4, 4], [4, 4]], 64), [[True, None], [None, None]])
    assert metrics.accuracy == 1.0
    assert metrics.unscored == 3


def test_the_limit_is_the_phases_unless_the_benchmark_has_its_own() -> None:
    engine = ScriptedEngine([[64, 5]], 64)
    assert run(engine, [[False, True]]).truncated_share == 0.5
    assert run(engine, [[False, True]], limit=32).max_response_tokens == 32
    assert [setting.max_response_tokens for setting in engine.settings] == [64, 32]
    assert engine.settings[0].seed == engine.settings[1].seed
    assert (engine.settings[0].temperature, engine.settings[0].top_p) == (0.6, 0.95)
