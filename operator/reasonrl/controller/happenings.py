"""The events of a job: one for each turn that it takes, read off the difference between the status before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reasonrl.controller.actions import Happening
from reasonrl.controller.conditions import find
from reasonrl.controller.decision import Decision
from reasonrl.controller.failure_policy import Finish, Restart
from reasonrl.controller.readiness import QUEUED
from reasonrl.controller.run_health import HEALTH_CONDITIONS


def happenings_of(before: Mapping[str, Any], after: Mapping[str, Any], decision: Decision) -> Iterator[Happening]:
    verdict = decision.verdict
    if isinstance(verdict, Restart):
        kind = "Stalled" if verdict.reason == "Stalled" else "TrainersRestarted"
        yield Happening(type="Warning" if verdict.counted else "Normal", reason=kind, message=verdict.message)
    if isinstance(verdict, Finish):
        reason = "Succeeded" if verdict.succeeded else "Failed"
        yield Happening(type="Normal" if verdict.succeeded else "Warning", reason=reason, message=f"{verdict.reason}: {verdict.message}")
    if decision.note:
        yield Happening(type="Warning", reason="EditRefused", message=decision.note)
    elif decision.note is not None:
        yield Happening(type="Normal", reason="EditTaken", message="the job was edited; the run takes it up at its next step")
    yield from _suspension(before, after)
    if _became(before, after, "TrainersReady", "True"):
        message = find(after, "TrainersReady")["message"]
        yield Happening(type="Normal", reason="Running", message=f"{message}; attempt {decision.ledger.trainer.wanted}")
    ready = find(after, "TrainersReady")
    turned = ready["reason"] != find(before, "TrainersReady").get("reason")
    if turned and ready["reason"] == QUEUED:
        yield Happening(type="Normal", reason=QUEUED, message=ready["message"])
    elif turned and _obstacle(ready["reason"]):
        yield Happening(type="Warning", reason="TrainersBlocked", message=ready["message"])
    yield from _run(before, after)


def _suspension(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Happening]:
    now = find(after, "Suspended")
    if _became(before, after, "Suspended", "True"):
        paused = str(now["reason"]).startswith("Paused")
        yield Happening(type="Warning" if paused else "Normal", reason="Paused" if paused else "Suspended", message=now["message"])
    elif _became(before, after, "Suspended", "False") and find(before, "Suspended"):
        yield Happening(type="Normal", reason="Resumed", message="the job goes on from its last checkpoint")


def _run(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Happening]:
    entered = after.get("phases") or ()
    if entered and (before.get("phases") or ())[-1:] != entered[-1:]:
        yield Happening(type="Normal", reason="PhaseEntered", message=f"{entered[-1]['name']}, at step {entered[-1]['enteredAtStep']}")
    waiting = after.get("waitingToEnter")
    if waiting and waiting != before.get("waitingToEnter"):
        yield Happening(type="Normal", reason="AwaitingAdvance", message=find(after, "Progressing")["message"])
    for type_ in HEALTH_CONDITIONS:
        if _became(before, after, type_, "False"):
            yield Happening(type="Warning", reason="Unhealthy", message=f"{type_}: {find(after, type_)['message']}")
        elif _became(before, after, type_, "True") and find(before, type_).get("status") == "False":
            yield Happening(type="Normal", reason="HealthyAgain", message=f"{type_}: {find(after, type_)['message']}")


def _became(before: Mapping[str, Any], after: Mapping[str, Any], type_: str, status: str) -> bool:
    return find(after, type_).get("status") == status and find(before, type_).get("status") != status


def _obstacle(reason: str) -> bool:
    """Reasons of our own say nothing that a person would have to do."""
    return reason not in ("AllReady", "NoLongerReady", "Starting", "Restarting", "Held", "WaitingForOldPods", "Finished", "NotYetKnown")
