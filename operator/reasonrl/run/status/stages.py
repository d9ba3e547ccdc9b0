"""The stages of a run as its operator knows them: the loop has more words for what it does than the contract has deadlines."""

from __future__ import annotations

from collections.abc import Mapping

from reasonrl.api.run_status import Stage

STAGES: Mapping[str, Stage] = {
    "starting": "loading",
    "loading": "loading",
    "warm start": "warmStart",
    "rollout": "rollout",
    "grade": "grade",
    # Log-probs of the reference are a forward pass over the same tokens as the update that follows.
    "reference": "update",
    "update": "update",
    "weight_sync": "weightSync",
    "checkpoint": "checkpoint",
    "evaluation": "evaluation",
    # Answers are sampled and graded, and nothing is learnt: an evaluation of the training questions.
    "pass rate": "evaluation",
    # What is left to write when the loop is over.
    "finished": "checkpoint",
    "stopped": "checkpoint",
}


def contract_stage(name: str) -> Stage:
    """Raises ValueError for a stage that nobody gave a deadline."""
    try:
        return STAGES[name]
    except KeyError:
        raise ValueError(f"the stage {name!r} has no deadline: name it in run/status/stages.py") from None
