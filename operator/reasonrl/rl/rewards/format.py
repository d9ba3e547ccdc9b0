"""The format reward: the five checks of the report's released code (STILL-3 section 2).

The response is judged alone, with what the prompt wrote of it (`<think>`) put back in front; the prompt itself, which shows the tags as an
example, is never looked at.
"""

from __future__ import annotations

from reasonrl.api.reward_spec import FormatReward
from reasonrl.rl.records import Outcome, Score
from reasonrl.rl.rewards.component import Component, RewardContext, Scored, Submission

TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def format_fault(response: str, *, prefix: str) -> str | None:
    """The first check that fails, as a sentence, or None when all five hold. `prefix` is what the prompt already wrote of the response.

    1. It begins with `<think>` and ends with `</answer>`. 2. Each of the four tags occurs once. 3. In their order. 4. Both bodies hold
    something. 5. Nothing but white space stands between `</think>` and `<answer>`.
    """
    text = (prefix + response).strip()
    if not (text.startswith(TAGS[0]) and text.endswith(TAGS[3])):
        return "it does not begin with <think> and end with </answer>"
    for tag in TAGS:
        if text.count(tag) != 1:
            return f"{tag} occurs {text.count(tag)} times"
    places = [text.index(tag) for tag in TAGS]
    if places != sorted(places):
        return "the tags are out of order"
    think = text[places[0] + len(TAGS[0]) : places[1]]
    between = text[places[1] + len(TAGS[1]) : places[2]]
    answer = text[places[2] + len(TAGS[2]) : places[3]]
    if not think.strip() or not answer.strip():
        return "the thinking or the answer is empty"
    if between.strip():
        return "there is text between </think> and <answer>"
    return None


def make_format(spec: FormatReward, _context: RewardContext) -> Component:
    """1 when the five checks hold, else 0: a factor of the sum as a gate, or added with its weight."""

    def score(submission: Submission) -> Scored:
        fault = format_fault(submission.text, prefix=submission.prefix)
        return Scored(Score(spec.type, Outcome.VALUE, float(fault is None), fault or ""))

    return Component(name=spec.type, weight=spec.weight, gate=spec.mode == "gate", score=score)
