"""The questions of a run: what is loaded, and what is said aloud about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from reasonrl.api.job import JobSpec
from reasonrl.data.chained_digits import WORDS
from reasonrl.data.word_tokenizer import word_tokenizer
from reasonrl.run.question_set import benchmarks, training_questions


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return word_tokenizer(list(WORDS), context_tokens=64)


def spec_of(directory: Path, *, training: list[str], held_out: list[str]) -> JobSpec:
    for name, texts in (("training", training), ("heldout", held_out)):
        rows = [json.dumps({"question": text, "answer": "1"}) for text in texts]
        (directory / f"{name}.jsonl").write_text("\n".join(rows))
    return JobSpec.model_validate(
        {
            "model": {"path": "model"},
            "prompt": {"template": "raw"},
            "data": {"train": [{"path": "training.jsonl"}]},
            "rewards": [{"type": "answer"}],
            "phases": [{"name": "only", "maxResponseTokens": 8, "until": {"steps": 1}}],
            "evaluation": {"everySteps": 1, "benchmarks": [{"name": "heldout", "path": "heldout.jsonl"}]},
        }
    )


def notes_of(directory: Path, spec: JobSpec, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    notes: list[str] = []
    questions = training_questions(spec, tokenizer, base_directory=directory, note=notes.append)
    benchmarks(spec, tokenizer, training=questions.questions, base_directory=directory, note=notes.append)
    return notes


def test_benchmark_questions_that_are_trained_on_are_counted_aloud(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    spec = spec_of(tmp_path, training=["a 7 b + 9", "a 1 b + 2"], held_out=["a 7  b +  9", "a 3 b + 3"])
    (note,) = notes_of(tmp_path, spec, tokenizer)
    assert "benchmark heldout: 1 of its 2 questions are trained on as well" in note
    assert "not held-out" in note


def test_nothing_is_said_of_sets_that_share_nothing(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    spec = spec_of(tmp_path, training=["a 7 b + 9"], held_out=["a 3 b + 3"])
    assert notes_of(tmp_path, spec, tokenizer) == []
