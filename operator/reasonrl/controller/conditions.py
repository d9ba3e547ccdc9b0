"""The conditions of a job: their types in order, and how one is written so that it changes only when something does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reasonrl.controller.times import seconds_of, timestamp

State = Literal["True", "False", "Unknown"]
TYPES = (
    "Admitted",
    "TrainersReady",
    "RolloutsReady",
    "Progressing",
    "CheckpointSaved",
    "RewardHealthy",
    "LengthHealthy",
    "KLWithinTarget",
    "Suspended",
    "Stalled",
    "Succeeded",
)
"""`Succeeded` is the summary: Unknown until the job has ended."""
LONGEST_MESSAGE = 2048


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a condition says now. `reason` is CamelCase; `message` is for a person who has never seen the operator."""

    status: State
    reason: str
    message: str


def find(status: Mapping[str, Any], type_: str) -> Mapping[str, Any]:
    """The condition as it was written; empty where it was not."""
    listed = status.get("conditions")
    for condition in listed if isinstance(listed, Sequence) and not isinstance(listed, str) else ():
        if isinstance(condition, Mapping) and condition.get("type") == type_:
            return condition
    return {}


def is_true(status: Mapping[str, Any], type_: str) -> bool:
    return find(status, type_).get("status") == "True"


def since(condition: Mapping[str, Any], otherwise: float) -> float:
    """When the condition's status last changed, Unix seconds."""
    found = seconds_of(condition.get("lastTransitionTime"))
    return otherwise if found is None else found


def write_conditions(before: Mapping[str, Any], judged: Mapping[str, Judgement], *, generation: int, now: float) -> list[dict[str, Any]]:
    """All conditions in the order of TYPES. One that is not judged stays as it was, or is Unknown if it never was."""
    return [_written(type_, find(before, type_), judged.get(type_), generation, now) for type_ in TYPES]


def _written(type_: str, before: Mapping[str, Any], judgement: Judgement | None, generation: int, now: float) -> dict[str, Any]:
    if judgement is None:
        judgement = Judgement("Unknown", "NotYetKnown", "nothing is known about it yet")
        if before:
            judgement = Judgement(before["status"], str(before.get("reason") or "NotYetKnown"), str(before.get("message") or ""))
    same = before.get("status") == judgement.status
    return {
        "type": type_,
        "status": judgement.status,
        "reason": judgement.reason,
        "message": judgement.message[:LONGEST_MESSAGE],
        "lastTransitionTime": before["lastTransitionTime"] if same and before.get("lastTransitionTime") else timestamp(now),
        "observedGeneration": generation,
    }
