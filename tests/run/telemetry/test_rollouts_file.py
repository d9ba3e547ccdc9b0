from __future__ import annotations

import json

import pytest
import torch

from reasonrl.rl.records import FinishReason, Grade, GradedGroup, Group, Outcome, Prompt, Question, Response, Score
from reasonrl.run.telemetry.rollouts_file import RolloutLine, RolloutsDirectory, rollout_lines
from reasonrl.run.telemetry.telemetry_error import TelemetryError


def _group(name: str, texts: list[str]) -> GradedGroup:
    question = Question(id=f"q-{name}", text=f"What is {name}?", answer="4", source="test")
    responses = tuple(
        Response(
            tokens=torch.arange(len(text)),
            sampler_logprobs=torch.full((len(text),), -0.5),
            finish=FinishReason.STOP,
            weight_version=3,
            text=text,
        )
        for text in texts
    )
    grade = Grade(
        reward=1.0, correct=True, scores=(Score("answer", Outcome.VALUE, 1.0, "equal"), Score("style", Outcome.TIMEOUT, None, "5 s"))
    )
    group = Group(id=name, prompt=Prompt(question=question, text=f"<q>{name}", tokens=(1, 2)), responses=responses)
    return GradedGroup(group=group, grades=tuple(grade for _ in texts))


def test_lines_are_taken_from_each_group_in_turn():
    graded = [_group("a", ["a1", "a2", "a3"]), _group("b", ["b1"]), _group("c", ["c1", "c2"])]
    assert [line.response for line in rollout_lines(graded, step=5, limit=5)] == ["a1", "b1", "c1", "a2", "c2"]
    assert len(rollout_lines(graded, step=5, limit=99)) == 6
    assert rollout_lines(graded, step=5, limit=0) == []


def test_a_line_tells_all_that_is_known_of_a_response(tmp_path):
    directory = RolloutsDirectory(tmp_path)
    directory.write(12, rollout_lines([_group("a", ["four\n∴ 4"])], step=12, limit=1))
    text = (tmp_path / "rollouts" / "step-000012.jsonl").read_text(encoding="utf-8")
    assert text.count("\n") == 1
    assert json.loads(text) == {
        "step": 12,
        "benchmark": None,
        "group_id": "a",
        "question_id": "q-a",
        "question": "What is a?",
        "answer": "4",
        "prompt": "<q>a",
        "response": "four\n∴ 4",
        "finish": "stop",
        "length": 8,
        "reward": 1.0,
        "correct": True,
        "scores": [
            {"component": "answer", "outcome": "value", "value": 1.0, "detail": "equal"},
            {"component": "style", "outcome": "timeout", "value": None, "detail": "5 s"},
        ],
        "weight_version": 3,
        "logprob_mean": -0.5,
    }
    assert RolloutLine.model_validate_json(text).response == "four\n∴ 4"


def test_an_empty_response_has_no_mean_log_prob():
    (line,) = rollout_lines([_group("a", [""])], step=0, limit=1)
    assert line.length == 0
    assert line.logprob_mean is None


def test_resuming_removes_the_files_of_steps_done_again_and_no_others(tmp_path):
    directory = RolloutsDirectory(tmp_path)
    directory.resumed_at(3)
    for step in range(6):
        directory.write(step, rollout_lines([_group("a", ["x"])], step=step, limit=1))
        directory.write_evaluation(step, "AIME 24/1", rollout_lines([_group("a", ["x"])], step=step, limit=1, benchmark="AIME 24/1"))
    (directory.path / "notes.txt").write_text("mine")
    directory.resumed_at(3)
    assert sorted(path.name for path in directory.path.iterdir()) == [
        "evaluation-000000-AIME_24_1.jsonl",
        "evaluation-000001-AIME_24_1.jsonl",
        "evaluation-000002-AIME_24_1.jsonl",
        "evaluation-000003-AIME_24_1.jsonl",
        "notes.txt",
        "step-000000.jsonl",
        "step-000001.jsonl",
        "step-000002.jsonl",
    ]


def test_no_lines_make_no_file(tmp_path):
    RolloutsDirectory(tmp_path).write(0, [])
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "rollouts").write_text("in the way")
    with pytest.raises(TelemetryError, match=r"cannot write .*step-000000"):
        RolloutsDirectory(tmp_path).write(0, rollout_lines([_group("a", ["x"])], step=0, limit=1))
