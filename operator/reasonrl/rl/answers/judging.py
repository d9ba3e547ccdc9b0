"""Judging one response: extraction, then equivalence. Runs in a sandboxed worker, so it takes and returns plain values, and neither it nor
what it imports may import torch."""

from __future__ import annotations

from reasonrl.rl.answers.equivalence import Judgement, equivalent
from reasonrl.rl.answers.extraction import final_answer

CORRECT, INCORRECT, MISSING, UNSCORABLE = "correct", "incorrect", "missing", "unscorable"
_MAX_EXTRACTED = 200
_VERDICTS = {Judgement.EQUAL: CORRECT, Judgement.DIFFERENT: INCORRECT, Judgement.UNSCORABLE: UNSCORABLE}


def judge(response: str, answer: str, *, tags: bool, require_boxed: bool) -> dict[str, str]:
    """`verdict` correct, incorrect, missing or unscorable, `detail`: the rule that decided, `extracted`: the final answer as written.

    `answer` is the gold answer. `tags`: the prompt asked for the answer in `<answer>` tags. `require_boxed`: only an answer in `\\boxed{}`
    counts.
    """
    found = final_answer(response, tags=tags, require_boxed=require_boxed)
    if not answer.strip():
        return {"verdict": UNSCORABLE, "detail": "the gold answer is empty", "extracted": (found or "")[:_MAX_EXTRACTED]}
    if found is None:
        return {"verdict": MISSING, "detail": "no final answer", "extracted": ""}
    verdict = equivalent(found, answer)
    return {"verdict": _VERDICTS[verdict.judgement], "detail": verdict.reason, "extracted": found[:_MAX_EXTRACTED]}
