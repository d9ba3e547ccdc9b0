"""The answer reward: is the response's final answer the gold answer?

`judge` runs in a sandboxed worker, so it takes and returns plain values, and neither it nor what it imports may import torch.
"""

from __future__ import annotations

from reasonrl.rl.answers.equivalence import Judgement, equivalent
from reasonrl.rl.answers.extraction import final_answer

CORRECT, INCORRECT, MISSING, UNSCORABLE = "correct", "incorrect", "missing", "unscorable"


def judge(response: str, answer: str, *, tags: bool, require_boxed: bool) -> dict[str, str]:
    """`verdict` correct, incorrect, missing or unscorable, and `detail`: the rule that decided.

    `tags`: the prompt asked for the answer in `<answer>` tags. `require_boxed`: only an answer in `\\boxed{}` counts.
    """
    found = final_answer(response, tags=tags, require_boxed=require_boxed)
    if found is None:
        return {"verdict": MISSING, "detail": "no final answer", "extracted": ""}
    verdict = equivalent(found, answer)
    name = {Judgement.EQUAL: CORRECT, Judgement.DIFFERENT: INCORRECT, Judgement.UNSCORABLE: UNSCORABLE}[verdict.judgement]
    return {"verdict": name, "detail": verdict.reason, "extracted": found[:200]}
