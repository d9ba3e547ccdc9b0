"""The components of a job: what they score themselves, what they ask to be run, and how they read the reply."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from pydantic import TypeAdapter

from reasonrl.api.reward_spec import (
    AnswerReward,
    FormatReward,
    FunctionReward,
    OverlongReward,
    ReasoningActionsReward,
    ResponseLengthReward,
    Reward,
)
from reasonrl.rl.records import Outcome
from reasonrl.rl.rewards.component import Component, RemoteCall, RemoteReply, RewardContext, Scored, Submission
from reasonrl.rl.rewards.registry import REWARDS, make_components

CONTEXT = RewardContext(uses_tags=True, base_directory=Path("/jobs"))


def submission(text: str = "so </think> <answer> 3 </answer>", *, tokens: int = 10, limit: int = 100, **fields: object) -> Submission:
    return Submission(text=text, prefix="<think>", question="1 + 2", answer="3", fields=fields, tokens=tokens, max_response_tokens=limit)


def component(spec: Reward) -> Component:
    (made,) = make_components([spec], CONTEXT)
    return made


def call_of(made: Component, given: Submission) -> RemoteCall:
    call = made.score(given)
    assert isinstance(call, RemoteCall)
    return call


def value_of(made: Component, given: Submission) -> float | None:
    scored = made.score(given)
    assert isinstance(scored, Scored)
    return scored.score.value


def test_every_reward_of_the_contract_is_in_the_registry() -> None:
    union, _ = get_args(Reward)
    types = {get_args(model.model_fields["type"].annotation)[0] for model in get_args(union)}
    assert set(REWARDS) == types
    assert TypeAdapter(Reward).validate_python({"type": "answer"}) == AnswerReward(type="answer")


def test_the_answer_reward_asks_for_a_judgement_without_showing_the_prompt() -> None:
    call = call_of(component(AnswerReward(type="answer", require_boxed=True, timeout_seconds=2.0)), submission())
    assert call.arguments == {"response": submission().text, "answer": "3", "tags": True, "require_boxed": True}
    assert call.timeout_seconds == 2.0


@pytest.mark.parametrize(("verdict", "value", "correct"), [("correct", 2.0, True), ("incorrect", -1.0, False), ("missing", -2.0, False)])
def test_verdicts_have_the_values_of_the_spec(verdict: str, value: float, correct: bool) -> None:
    made = component(AnswerReward(type="answer", correct=2.0, incorrect=-1.0, missing=-2.0))
    scored = made.read(RemoteReply(outcome=Outcome.VALUE, value={"verdict": verdict, "detail": "", "extracted": ""}))
    assert (scored.score.value, scored.correct) == (value, correct)


@pytest.mark.parametrize("outcome", [Outcome.ERROR, Outcome.TIMEOUT])
def test_a_failed_judgement_has_neither_value_nor_verdict(outcome: Outcome) -> None:
    scored = component(AnswerReward(type="answer")).read(RemoteReply(outcome=outcome, detail="why"))
    assert (scored.score.outcome, scored.score.value, scored.score.detail, scored.correct) == (outcome, None, "why", None)


def test_the_format_is_a_gate_or_a_summand() -> None:
    gate, summand = component(FormatReward(type="format")), component(FormatReward(type="format", mode="additive", weight=0.5))
    assert (gate.gate, summand.gate, summand.weight) == (True, False, 0.5)
    assert (value_of(gate, submission()), value_of(gate, submission("3"))) == (1.0, 0.0)


def test_the_overlong_reward_knows_the_limit_of_the_phase() -> None:
    made = component(OverlongReward(type="overlong", buffer_tokens=50))
    assert value_of(made, submission(tokens=75, limit=100)) == pytest.approx(-0.5)
    assert value_of(made, submission(tokens=75, limit=200)) == 0.0


@pytest.mark.parametrize(
    ("tokens", "limit", "max_tokens", "value"),
    [(25, 100, None, 0.25), (100, 100, None, 1.0), (25, 200, None, 0.125), (25, 100, 50, 0.5), (80, 100, 50, 1.0), (0, 100, None, 0.0)],
)
def test_the_length_reward_is_the_share_of_the_longest(tokens: int, limit: int, max_tokens: int | None, value: float) -> None:
    made = component(ResponseLengthReward(type="responseLength", max_tokens=max_tokens))
    assert value_of(made, submission(tokens=tokens, limit=limit)) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", 0.0),
        ("Wait, but is it? However, I VERIFY. Alternatively: wait", 6 / 20),
        # Neither parts of words nor other forms of them.
        ("distribution butter awaiting verified however_1", 0.0),
        ("wait " * 20, 1.0),
        ("wait " * 500, 1.0),
    ],
)
def test_the_action_reward_counts_whole_words_up_to_its_cap(text: str, value: float) -> None:
    assert value_of(component(ReasoningActionsReward(type="reasoningActions")), submission(text)) == pytest.approx(value)


def test_the_words_and_the_cap_of_the_action_reward_are_the_users() -> None:
    made = component(ReasoningActionsReward(type="reasoningActions", words=("double check", "hmm"), max_actions=4))
    assert value_of(made, submission("Hmm. Double-check, double  check; wait")) == pytest.approx(0.75)
    scored = made.score(submission("hmm"))
    assert isinstance(scored, Scored)
    assert (scored.score.detail, scored.correct) == ("1 actions", None)


def test_a_function_gets_the_columns_of_the_source_and_they_cannot_replace_its_arguments() -> None:
    made = component(FunctionReward(type="function", path="rewards.py", function="mine"))
    call = call_of(made, submission(level=3, answer="forged"))
    assert call.function.file == Path("/jobs/rewards.py")
    assert call.arguments == {"response": submission().text, "answer": "3", "question": "1 + 2"}
    assert call.optional == {"level": 3}


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        (0.5, Outcome.VALUE),
        (True, Outcome.VALUE),
        (None, Outcome.UNSCORABLE),
        (float("nan"), Outcome.ERROR),
        (float("inf"), Outcome.ERROR),
        ("0.5", Outcome.ERROR),
        ([1.0], Outcome.ERROR),
    ],
)
def test_what_a_function_returns_is_taken_for_what_it_is(value: object, outcome: Outcome) -> None:
    scored = component(FunctionReward(type="function", path="rewards.py")).read(RemoteReply(outcome=Outcome.VALUE, value=value))
    assert scored.score.outcome is outcome
    assert (scored.score.value is None) == (outcome is not Outcome.VALUE)


def test_workers_judge_without_torch() -> None:
    import subprocess
    import sys

    code = "import sys; import reasonrl.rl.answers.judging; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0
