"""The answer reward: is the response's final answer the gold answer? Its verdict alone is what accuracy counts (STILL-3 §2.1)."""

from __future__ import annotations

from reasonrl.api.reward_spec import AnswerReward
from reasonrl.rl.answers.judging import CORRECT, INCORRECT, MISSING, UNSCORABLE, judge
from reasonrl.rl.records import Outcome, Score
from reasonrl.rl.rewards.component import Component, RemoteCall, RemoteFunction, RemoteReply, RewardContext, Scored, Submission

JUDGE = RemoteFunction(name=judge.__name__, module=judge.__module__)


def make_answer(spec: AnswerReward, context: RewardContext) -> Component:
    """Right, wrong and missing answers as the spec values them; a gold answer that says nothing is unscorable. The score's `detail` is
    the verdict."""
    values = {CORRECT: spec.correct, INCORRECT: spec.incorrect, MISSING: spec.missing}

    def call(submission: Submission) -> RemoteCall:
        arguments = {
            "response": submission.text,
            "answer": submission.answer,
            "tags": context.uses_tags,
            "require_boxed": spec.require_boxed,
        }
        return RemoteCall(function=JUDGE, arguments=arguments, timeout_seconds=spec.timeout_seconds)

    def read(reply: RemoteReply) -> Scored:
        if reply.outcome is not Outcome.VALUE or not isinstance(reply.value, dict):
            return Scored(Score(spec.type, reply.outcome, None, reply.detail))
        verdict = str(reply.value["verdict"])
        if verdict == UNSCORABLE:
            return Scored(Score(spec.type, Outcome.UNSCORABLE, None, str(reply.value["detail"])))
        return Scored(Score(spec.type, Outcome.VALUE, values[verdict], verdict), correct=verdict == CORRECT)

    return Component(name=spec.type, weight=spec.weight, gate=False, score=call, read=read, judges="answer", runs=JUDGE)
