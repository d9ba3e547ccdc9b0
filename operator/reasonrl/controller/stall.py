"""Whether a gang has stopped getting on: it does not come up, or a stage of the run lasts longer than its deadline.

Clocks jump and differ, and a pod that was not asked lately is not a pod that stands still. So the age of a stage is taken at the moment of
the answer that told of it, by the clock of the pod that gave it; and a deadline that seems to be over is only believed when a second look,
a while later, finds the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from reasonrl.controller.conditions import find, since
from reasonrl.controller.situation import Situation, ended
from reasonrl.controller.times import span

CONFIRM_SECONDS = 30.0
SUSPECTED = "Suspected"
SILENCE_SECONDS = 300.0
"""How long trainer-0 may leave /status unanswered before the silence counts as part of the stage."""


@dataclass(frozen=True, slots=True)
class Stall:
    """A deadline that is over; `confirmed` when it was found so twice. `look_again` seconds from now."""

    reason: str
    message: str
    confirmed: bool
    look_again: float


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nothing is over yet; the next deadline is `look_again` seconds from now, None where there is none."""

    look_again: float | None


def judge_stall(situation: Situation) -> Stall | Quiet:
    """Of the gang as it is. A gang that waits to be created has no deadline."""
    found = _too_slow_a_start(situation) or _too_long_a_stage(situation)
    if found is None:
        return Quiet(None)
    left, reason, message = found
    if left > 0:
        return Quiet(left)
    before = find(situation.status, "Stalled")
    if before.get("status") != "Unknown" or before.get("reason") != SUSPECTED:
        return Stall(reason, message, False, CONFIRM_SECONDS)
    waited = situation.now - since(before, situation.now)
    if waited < -CONFIRM_SECONDS:
        # The clock went back: neither is the suspicion of any worth, nor is it a reason to wait until the clock has caught up.
        return Quiet(1.0)
    return Stall(reason, message, waited >= CONFIRM_SECONDS, max(1.0, CONFIRM_SECONDS - max(waited, 0.0)))


def _too_slow_a_start(situation: Situation) -> tuple[float, str, str] | None:
    gang, deadline = situation.gang, situation.settings.start_deadline
    missing = [pod for pod in gang if pod.phase != "Running" and not ended(pod)]
    if deadline is None or not missing:
        return None
    begun = _begun(situation)
    if begun is None:
        return None
    left = begun + deadline - situation.now
    why = next((pod.unschedulable or pod.waiting_message or pod.waiting for pod in missing if pod.unschedulable or pod.waiting), "")
    names = ", ".join(pod.name for pod in missing[:4]) + (" …" if len(missing) > 4 else "")
    message = f"{len(missing)} of {situation.settings.trainers} trainers did not start within {span(deadline)}: {names}"
    return left, "StartDeadlineExceeded", f"{message}: {why}"[:1024] if why else message


def _begun(situation: Situation) -> float | None:
    """From when on the start is slow; None while it has not begun: a place in a queue may take days, and is nobody's failure.

    When Kueue let a pod go is not known. What it admitted has a node soon, or Kueue itself takes it back (waitForPodsReady)."""
    gang = situation.gang
    if any(pod.gated for pod in gang):
        return None
    if situation.settings.gang == "Kueue":
        return min((pod.placed for pod in gang if pod.placed is not None), default=None)
    return min(pod.created for pod in gang)


def _too_long_a_stage(situation: Situation) -> tuple[float, str, str] | None:
    gang = situation.gang
    head = next((pod for pod in gang if pod.index == 0), None)
    if head is None or head.phase != "Running" or ended(head) or len(gang) < situation.settings.trainers:
        return None
    run, heard = situation.run, situation.heard
    if run is None or heard is None:
        deadline = situation.settings.stage_deadlines.get("loading", 3600.0)
        begun = max(head.started or head.created, *(pod.started or pod.created for pod in gang))
        return begun + deadline - situation.now, "NoAnswer", f"{head.name} has not answered /status within {span(deadline)} of its start"
    # An age below nothing is a clock that was set: the stage has just begun, as far as anybody can tell.
    age = max(0.0, (heard if situation.told is None else situation.told) - run.stage_started)
    silence = max(0.0, situation.now - heard)
    left = run.stage_deadline_seconds - age - (silence if silence > SILENCE_SECONDS else 0.0)
    if left > 0:
        left = min(left, run.stage_deadline_seconds)
    message = f"the run has been in stage {run.stage} of step {run.step} for longer than {span(run.stage_deadline_seconds)}"
    if silence > SILENCE_SECONDS:
        message += f", and {head.name} no longer answers /status"
    return left, "StageDeadlineExceeded", message
