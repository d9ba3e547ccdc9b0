"""A step's responses through real sandboxed workers."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from reasonrl.api.reward_spec import (
    AnswerReward,
    FormatReward,
    FunctionReward,
    OverlongReward,
    ReasoningActionsReward,
    ResponseLengthReward,
)
from reasonrl.rl.records import FinishReason, Grade, Group, Outcome, Prompt, Question, Response
from reasonrl.run.grading import Grader
from reasonrl.run.reward_failure import RewardFailureError, check_rewards
from reasonrl.sandbox.errors import SandboxError

FUNCTIONS = """
import os, time

def length(response, answer, question):
    return len(response)

def of_fields(response, answer, question, level, **fields):
    return float(level)

def declines(response, answer, question):
    return None if "?" in response else 1.0

def raises(response, answer, question):
    raise KeyError("no such thing")

def hangs(response, answer, question):
    while True:
        time.sleep(1)

def not_a_number(response, answer, question):
    return float("nan")

def dies(response, answer, question):
    os._exit(9)

def secret(response, answer, question):
    return 1.0 if "A_SECRET" in os.environ else 0.0
"""


def groups(*texts: str, answer: str = "16", fields: dict[str, object] | None = None) -> list[Group]:
    question = Question(id="q", text="7 + 9", answer=answer, source="test", fields=fields or {})
    responses = tuple(
        Response(
            tokens=torch.zeros(len(text.split()), dtype=torch.long),
            sampler_logprobs=torch.zeros(len(text.split())),
            finish=FinishReason.STOP,
            weight_version=0,
            text=text,
        )
        for text in texts
    )
    return [Group(id="g", prompt=Prompt(question=question, text="", tokens=(1,)), responses=responses)]


@pytest.fixture
def functions(tmp_path: Path) -> Path:
    (tmp_path / "rewards.py").write_text(FUNCTIONS)
    return tmp_path


def grades(rewards, batch: list[Group], directory: Path, *, limit: int = 100) -> tuple[Grade, ...]:
    with Grader(rewards, uses_tags=True, response_prefix="<think>", base_directory=directory, workers=1) as grader:
        (graded,) = grader.grade(batch, max_response_tokens=limit)
    return graded.grades


def function(name: str, timeout: float = 60.0) -> FunctionReward:
    return FunctionReward(type="function", path="rewards.py", function=name, timeout_seconds=timeout)


def test_answers_are_right_wrong_or_missing_and_in_order(tmp_path: Path) -> None:
    reward = AnswerReward(type="answer", timeout_seconds=60.0, correct=1.0, incorrect=-1.0, missing=-0.5)
    right, wrong, missing = grades([reward], groups("a </think> <answer> 16 </answer>", "a </think> <answer> 17 </answer>", "hm"), tmp_path)
    assert (right.reward, right.correct) == (1.0, True)
    assert (wrong.reward, wrong.correct) == (-1.0, False)
    assert (missing.reward, missing.correct) == (-0.5, False)


def test_a_gold_answer_that_says_nothing_is_unscorable_and_not_wrong(tmp_path: Path) -> None:
    (grade,) = grades([AnswerReward(type="answer", timeout_seconds=60.0)], groups("<answer> 16 </answer>", answer=" "), tmp_path)
    assert (grade.reward, grade.correct) == (None, None)
    assert grade.scores[0].outcome is Outcome.UNSCORABLE


def test_a_gate_takes_the_reward_and_not_the_verdict(tmp_path: Path) -> None:
    rewards = [AnswerReward(type="answer", timeout_seconds=60.0), FormatReward(type="format", mode="gate")]
    good, bad = grades(rewards, groups("a </think> <answer> 16 </answer>", "<answer> 16 </answer> yes"), tmp_path)
    assert (good.reward, good.correct) == (1.0, True)
    assert (bad.reward, bad.correct) == (0.0, True)


def test_the_overlong_punishment_is_added(tmp_path: Path) -> None:
    rewards = [AnswerReward(type="answer", timeout_seconds=60.0), OverlongReward(type="overlong", buffer_tokens=4)]
    (grade,) = grades(rewards, groups("a b c </think> <answer> 16 </answer> x"), tmp_path, limit=8)
    assert grade.reward == pytest.approx(1.0 - 1.0)


def plus_or_minus_one() -> AnswerReward:
    return AnswerReward(type="answer", timeout_seconds=60.0, correct=1.0, incorrect=-1.0, missing=-1.0)


def test_the_length_reward_is_as_the_report_defines_it_and_accuracy_does_not_see_it(tmp_path: Path) -> None:
    long_and_wrong = "a b c d </think> <answer> 17 </answer>"
    batch = groups("a </think> <answer> 16 </answer>", long_and_wrong, "1 2 3 4 5 6 7 8 9 10")
    right, wrong, missing = grades([plus_or_minus_one(), ResponseLengthReward(type="responseLength")], batch, tmp_path, limit=10)
    # L / L_max + R_correct, by hand: 5/10 + 1, 8/10 - 1 and 10/10 - 1.
    assert [grade.reward for grade in (right, wrong, missing)] == pytest.approx([1.5, -0.2, 0.0])
    assert [grade.correct for grade in (right, wrong, missing)] == [True, False, False]
    assert [score.component for score in wrong.scores] == ["answer", "responseLength"]
    assert [score.value for score in wrong.scores] == pytest.approx([-1.0, 0.8])


def test_the_action_reward_is_as_the_report_defines_it_and_a_gate_takes_it_too(tmp_path: Path) -> None:
    rewards = [plus_or_minus_one(), ReasoningActionsReward(type="reasoningActions"), FormatReward(type="format", mode="gate")]
    good, spam, ungated = grades(
        rewards,
        groups(
            "wait, but </think> <answer> 16 </answer>",
            "wait " * 40 + "</think> <answer> 17 </answer>",
            "wait, however <answer> 16 </answer>",
        ),
        tmp_path,
    )
    # min(A, 20) / 20 + R_correct, times the gate, by hand: 2/20 + 1, 1 - 1, and 0.
    assert [grade.reward for grade in (good, spam, ungated)] == pytest.approx([1.1, 0.0, 0.0])
    assert [grade.correct for grade in (good, spam, ungated)] == [True, False, True]
    assert ungated.scores[1].value == pytest.approx(0.1)


def test_a_function_of_the_users_sees_response_answer_question_and_fields(functions: Path) -> None:
    (by_length,) = grades([function("length")], groups("four"), functions)
    assert by_length.reward == 4.0
    (by_field,) = grades([function("of_fields")], groups("x", fields={"level": 3, "other": "unused"}), functions)
    assert by_field.reward == 3.0


@pytest.mark.parametrize(
    ("name", "outcome", "detail"),
    [
        ("raises", Outcome.ERROR, "no such thing"),
        ("not_a_number", Outcome.ERROR, "finite"),
        ("dies", Outcome.ERROR, ""),
        ("hangs", Outcome.TIMEOUT, ""),
    ],
)
def test_what_goes_wrong_is_counted_as_what_it_was_and_is_never_a_zero(functions: Path, name: str, outcome: Outcome, detail: str) -> None:
    # Only the function that hangs is meant to meet its limit, however busy the machine is.
    (grade,) = grades([function(name, timeout=1.0 if name == "hangs" else 60.0)], groups("x"), functions)
    assert grade.reward is None
    assert grade.scores[0].outcome is outcome
    assert detail in grade.scores[0].detail


def test_a_worker_that_is_killed_from_outside_costs_no_response_its_grade(functions: Path) -> None:
    with Grader([function("length")], uses_tags=True, response_prefix="", base_directory=functions, workers=1) as grader:
        assert grader._pool is not None
        os.kill(grader._pool.process_ids[0], signal.SIGKILL)
        (group,) = grader.grade(groups("four", "fives"), max_response_tokens=100)
    assert [(grade.reward, grade.scores[0].outcome) for grade in group.grades] == [(4.0, Outcome.VALUE), (5.0, Outcome.VALUE)]


def test_a_function_that_is_not_there_stops_the_run_before_it_starts(functions: Path) -> None:
    with pytest.raises(SandboxError, match="missing_function"):
        grades([function("missing_function")], groups("x"), functions)


def test_a_function_may_decline_and_the_others_are_scored(functions: Path) -> None:
    declined, scored = grades([function("declines")], groups("what?", "this"), functions)
    assert declined.scores[0].outcome is Outcome.UNSCORABLE
    assert (declined.reward, scored.reward) == (None, 1.0)


def test_reward_code_inherits_no_secret(functions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "x")
    (grade,) = grades([function("secret")], groups("x"), functions)
    assert grade.reward == 0.0


def test_a_step_in_which_nothing_could_be_scored_stops_the_run_with_the_reason(functions: Path) -> None:
    with Grader([function("raises")], uses_tags=False, response_prefix="", base_directory=functions, workers=1) as grader:
        graded = grader.grade(groups("x", "y"), max_response_tokens=10)
    with pytest.raises(RewardFailureError, match=r"raises error × 2.*no such thing"):
        check_rewards(graded)
