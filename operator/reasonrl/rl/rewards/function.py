"""A reward of the user's own: `def score(response, answer, question, **fields) -> float | None`, in a Python file.

It runs in a killable process. None declines to score; an exception, a timeout or a value that is no finite number is counted as what it
is, and never as 0.
"""

from __future__ import annotations

import math

from reasonrl.api.reward_spec import FunctionReward
from reasonrl.rl.records import Outcome, Score
from reasonrl.rl.rewards.component import Component, RemoteCall, RemoteFunction, RemoteReply, RewardContext, Scored, Submission


def make_function(spec: FunctionReward, context: RewardContext) -> Component:
    """The function of that name in the file at `spec.path`, relative to the job file. The component is named after it."""
    function = RemoteFunction(name=spec.function, file=context.base_directory / spec.path)

    def call(submission: Submission) -> RemoteCall:
        required = {"response": submission.text, "answer": submission.answer, "question": submission.question}
        # The source's other columns come under their own names, to functions that take them.
        columns = {name: value for name, value in submission.fields.items() if name not in required}
        return RemoteCall(function=function, arguments=required, optional=columns, timeout_seconds=spec.timeout_seconds)

    def read(reply: RemoteReply) -> Scored:
        score = _score(spec.function, reply)
        return Scored(score, correct=None if score.value is None else score.value > 0)

    return Component(name=spec.function, weight=spec.weight, gate=False, score=call, read=read, judges="value", runs=function)


def _score(name: str, reply: RemoteReply) -> Score:
    value = reply.value
    if reply.outcome is not Outcome.VALUE:
        return Score(name, reply.outcome, None, reply.detail)
    if value is None:
        return Score(name, Outcome.UNSCORABLE, None, "the function returned None")
    if isinstance(value, int | float) and math.isfinite(value):
        return Score(name, Outcome.VALUE, float(value))
    return Score(name, Outcome.ERROR, None, f"the function returned {value!r:.100}; it must return a finite number or None")
