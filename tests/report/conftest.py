from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from reasonrl.api.run_files import EvaluationMetrics, Event, StepMetrics, WarmStartMetrics

START = 1_700_000_000.0
LIMITS = (256, 512)


def _step(step: int, *, switch: int = 20, resets_at: int = 10, **changes: object) -> StepMetrics:
    phase = int(step >= switch)
    limit = LIMITS[phase]
    fields: dict[str, object] = {
        "step": step,
        "time": START + 2.0 * step,
        "phase": ("short", "long")[phase],
        "phase_index": phase,
        "phase_step": step - switch * phase,
        "max_response_tokens": limit,
        "temperature": 1.0,
        "kl_coefficient": 0.001 * math.exp(-step / 20),
        "learning_rate": 1e-3,
        "entropy_coefficient": 0.0,
        "reward_mean": 0.2 + step / 100,
        "reward_std": 0.4,
        "reward_components": {"answer": 0.2 + step / 100, "format": 0.9},
        "outcomes": {"value": 15, "error": 0, "timeout": 1, "unscorable": 0},
        "accuracy": 0.2 + step / 100,
        "response_length_mean": 100.0 + step,
        "response_length_p50": 90.0,
        "response_length_p95": min(limit, 200.0 + 3 * step),
        "response_length_max": limit,
        "correct_length_mean": 70.0,
        "incorrect_length_mean": 120.0,
        "lengths_by_outcome": {"correct": [60, 80], "incorrect": [100], "truncated": [256], "unscored": []},
        "truncated_share": 0.125,
        "completed_share": 0.875,
        "all_right_share": 0.1,
        "all_wrong_share": 0.5,
        "kept_responses": 12,
        "responses": 16,
        "entropy": 1.5,
        "clip_fraction": 0.01,
        "gradient_norm": 0.8,
        "loss": -0.01,
        "kl_k1": 0.002,
        "kl_k2": 0.003,
        "kl_k3": 0.0025,
        "sampler_gap_mean": 1e-4,
        "sampler_gap_max": 1e-3,
        "staleness_max": 1,
        "reflection_share": {"self_verification": 0.1, "self_correction": 0.2},
        "reflection_per_1000_tokens": {"self_verification": 2.0, "self_correction": 1.0},
        "selection_kept": {"unscored": 15, "overlengthMask": 13, "dynamicSampling": 12},
        "selection_dropped": {"unscored": 1, "overlengthMask": 2, "dynamicSampling": 1},
        "empty_questions": 1,
        "refills": step % 3,
        "replaced_questions": step % 3,
        "repetitive_share": 0.02,
        "duplicate_paragraphs": 0.5,
        "repeated_ngrams": 0.2,
        "distinct_ngrams": 0.7,
        "prompt_tokens": 320,
        "response_tokens": 1600,
        "tokens_per_second": 800.0,
        "seconds": {"rollout": 1.0, "grade": 0.2, "update": 0.5, "weight_sync": 0.05, "total": 2.0},
        "reference_resets": int(step >= resets_at),
    }
    return StepMetrics.model_validate(fields | changes)


def _evaluation(step: int, **changes: object) -> EvaluationMetrics:
    fields: dict[str, object] = {
        "step": step,
        "time": START + 2.0 * step,
        "phase": "short",
        "benchmark": "held-out",
        "questions": 50,
        "samples": 4,
        "temperature": 0.6,
        "max_response_tokens": 256,
        "accuracy": 0.2 + step / 100,
        "accuracy_error": 0.03,
        "response_length_mean": 110.0,
        "correct_length_mean": 80.0,
        "incorrect_length_mean": 130.0,
        "truncated_share": 0.1,
        "unscored": 0,
        "seconds": 3.0,
    }
    return EvaluationMetrics.model_validate(fields | changes)


def _answer(step: int, **changes: object) -> dict[str, object]:
    return {
        "step": step,
        "benchmark": None,
        "group_id": f"{step}-0",
        "question_id": "q0",
        "question": "2 + 2 = ?",
        "answer": "4",
        "prompt": "2 + 2 = ?",
        "response": "It is 4.",
        "finish": "stop",
        "length": 5,
        "reward": 1.0,
        "correct": True,
        "scores": [{"component": "answer", "outcome": "value", "value": 1.0, "detail": ""}],
        "weight_version": step,
        "logprob_mean": -0.2,
    } | changes


@pytest.fixture
def step() -> Callable[..., StepMetrics]:
    return _step


@pytest.fixture
def evaluation() -> Callable[..., EvaluationMetrics]:
    return _evaluation


@pytest.fixture
def answer() -> Callable[..., dict[str, object]]:
    return _answer


@pytest.fixture
def write_answers() -> Callable[..., None]:
    def write(directory: Path, name: str, lines: list[dict[str, object]]) -> None:
        (directory / "rollouts").mkdir(parents=True, exist_ok=True)
        (directory / "rollouts" / name).write_text("".join(json.dumps(line) + "\n" for line in lines))

    return write


@pytest.fixture
def make_run(tmp_path, write_answers) -> Callable[..., Path]:
    """A run of 40 steps with two phases, a reset, checkpoints, a warning, evaluations every ten steps and answers at both ends."""

    def make(name: str = "run", *, steps: int = 40, job: dict | None = None, switch: int = 20, finished: bool = True) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        records: list = [
            WarmStartMetrics(step=s, time=START, loss=2.0 / (1 + s), learning_rate=1e-3, tokens_per_second=900.0) for s in range(5)
        ]
        for s in range(steps):
            if s % 10 == 0:
                records.append(_evaluation(s))
            records.append(_step(s, switch=switch))
        records.append(_evaluation(steps))
        (directory / "metrics.jsonl").write_text("".join(record.model_dump_json() + "\n" for record in records))
        events = [
            Event(time=START, step=0, reason="PhaseEntered", message="short, 256 tokens: the first"),
            Event(time=START, step=10, reason="ReferenceReset", message="reset 1"),
            Event(time=START, step=15, reason="LengthHacking", message="length rose and accuracy did not"),
            Event(time=START, step=20, reason="CheckpointSaved", message="step-000020"),
        ]
        if finished:
            events.append(Event(time=START, step=steps, reason="Completed", message="the last phase ended"))
        (directory / "events.jsonl").write_text("".join(event.model_dump_json() + "\n" for event in events))
        resolved = {"metadata": {"name": name}, "spec": {"seed": 1} if job is None else job}
        (directory / "job.yaml").write_text(yaml.safe_dump(resolved))
        write_answers(directory, "step-000000.jsonl", [_answer(0, correct=False, response="It is 5.", reward=0.0)])
        write_answers(directory, f"step-{steps - 1:06d}.jsonl", [_answer(steps - 1)])
        return directory

    return make
