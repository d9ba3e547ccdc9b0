"""The whole status of a job as it should be, from what was seen and decided.

It must not change without a cause, because each change is a write: numbers of the run are those of its last complete step and rounded,
times are kept once they are set, and what is not known at this look stays as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reasonrl.api import names
from reasonrl.api.run_status import RunStatus
from reasonrl.api.status import MOST_CHECKPOINTS
from reasonrl.controller.conditions import Judgement, find, write_conditions
from reasonrl.controller.decision import Decision
from reasonrl.controller.failure_policy import Finish, Restart
from reasonrl.controller.frozen_job import FrozenJob, digest
from reasonrl.controller.lifecycle import Hold
from reasonrl.controller.readiness import QUEUED, Count, admitted_message, count_rollouts, count_trainers, rollouts_ready, trainers_ready
from reasonrl.controller.run_health import health_conditions
from reasonrl.controller.situation import Situation, result_of
from reasonrl.controller.times import timestamp

MOST_PHASES = 64
_NOT_STARTED = Judgement("Unknown", "NotStarted", "the job has not started")
_LATEST = 253402300799.0
"""The last second of the year 9999: a run may say anything."""
_BOUNDED = {
    "klCoefficient": (-1e12, 1e12),
    "reward": (-1e12, 1e12),
    "tokensPerSecond": (0.0, 1e12),
    "accuracy": (0.0, 1.0),
    "truncatedShare": (0.0, 1.0),
}


def job_status(situation: Situation, frozen: FrozenJob, decision: Decision) -> tuple[dict[str, Any], list[float]]:
    """The status, and the times at which it will have to be written again even if nothing happens."""
    before = situation.status
    trainers = count_trainers(situation, decision)
    rollouts = count_rollouts(situation, decision, trainers)
    finish = decision.verdict if isinstance(decision.verdict, Finish) else None
    if decision.hold is not None or finish is not None:
        trainers, rollouts = _none_ready(trainers), _none_ready(rollouts)
    judged = _judge(situation, decision, finish, trainers, rollouts)
    job = situation.job
    status: dict[str, Any] = {
        **{key: value for key, value in before.items() if key not in ("waitingToEnter", "completionTime")},
        "observedGeneration": job.generation,
        "conditions": write_conditions(before, judged, generation=job.generation, now=situation.now),
        "totalSteps": situation.settings.total_steps,
        "trainers": trainers.to_status(),
        "rollouts": {**rollouts.to_status(), "selector": f"{names.LABEL_JOB_UID}={job.uid},{names.LABEL_ROLE}=rollout"},
        "attempts": decision.ledger.to_status(),
        "specHash": digest(frozen.job),
    }
    reference = job.spec.get("runtimeRef")
    if isinstance(reference, Mapping) and reference.get("name"):
        kind = reference.get("kind") or "ClusterReasoningRLRuntime"
        status["runtime"] = {"kind": kind, "name": reference["name"]}
        if frozen.version:
            status["runtime"]["resourceVersion"] = frozen.version
    start = min((pod.created for pod in (*situation.trainers, *situation.rollouts)), default=situation.now)
    if not before.get("startTime") and (decision.new_trainers or start < situation.now or finish is not None):
        status["startTime"] = timestamp(min(start, situation.now))
    if finish is not None:
        status["completionTime"] = timestamp(situation.now)
    status |= _progress(situation)
    status["summary"] = summary_of(situation, decision, judged)
    status["message"] = _message(status["summary"], judged)
    return status, [count.settles for count in (trainers, rollouts) if count.settles is not None]


def refused_status(
    before: Mapping[str, Any], *, generation: int, now: float, reason: str, message: str, final: bool, hold: Hold | None
) -> dict[str, Any]:
    """Of a job that has not started and cannot: for good as it is written, or until something it needs is there. Or of one that has
    started, and of which nobody knows any more what it runs; `hold` says that it is to have no pods."""
    begun = bool(before.get("startTime"))
    waits = Judgement("Unknown", "NotFinished", "the job has not ended yet") if begun else _NOT_STARTED
    succeeded = Judgement("False", reason, message) if final else waits
    judged = {"Admitted": Judgement("False", reason, message), "Succeeded": succeeded}
    if hold is not None:
        held = Judgement("False", "Held", hold.message)
        judged |= {"Suspended": Judgement("True", hold.reason, hold.message), "TrainersReady": held, "RolloutsReady": held}
    summary = "Paused" if hold is not None and hold.paused else "Suspended" if hold is not None else before.get("summary", "Pending")
    status: dict[str, Any] = {
        **{key: value for key, value in before.items() if key != "completionTime"},
        "observedGeneration": generation,
        "conditions": write_conditions(before, judged, generation=generation, now=now),
        "summary": "Failed" if final else summary if begun else "Pending",
        "message": message[:2048],
    }
    for role in names.ROLES if hold is not None else ():
        status[f"{role}s"] = {**(before.get(f"{role}s") or {"desired": 0}), "created": 0, "ready": 0}
    if final:
        status["completionTime"] = before.get("completionTime") or timestamp(now)
    return status


def newest_checkpoint(situation: Situation) -> int | None:
    """The highest step of a checkpoint that anybody ever told of. After a roll-back it stays: going over the same steps again is no
    progress."""
    told = [situation.status.get("lastCheckpointStep")]
    if situation.run is not None:
        told += [each.step for each in situation.run.checkpoints]
    for pod in situation.trainers:
        result = result_of(pod) if pod.index == 0 and pod.message else None
        told.append(result.checkpoint_step if result is not None else None)
    return max((step for step in told if isinstance(step, int)), default=None)


def summary_of(situation: Situation, decision: Decision, judged: Mapping[str, Judgement]) -> str:
    if isinstance(decision.verdict, Finish):
        return "Succeeded" if decision.verdict.succeeded else "Failed"
    if decision.hold is not None:
        if decision.hold.paused:
            return "Paused"
        return "Pending" if decision.hold.reason == "Queued" else "Suspended"
    if judged["Stalled"].status == "True":
        return "Stalled"
    ready = judged["TrainersReady"]
    if ready.status == "True" or ready.reason == "NoLongerReady":
        return "Running"
    if ready.reason == QUEUED:
        return "Pending"
    if isinstance(decision.verdict, Restart) or decision.ledger.trainer.wanted > 0:
        return "Restarting"
    return "Pending" if ready.reason in ("Unschedulable", "NameTaken") else "Starting"


def _judge(situation: Situation, decision: Decision, finish: Finish | None, trainers: Count, rollouts: Count) -> dict[str, Judgement]:
    judged = health_conditions(situation.run)
    judged["Admitted"] = _admitted(situation, decision)
    judged["Suspended"] = _suspended(decision)
    judged["Stalled"] = _stalled(situation, decision)
    checkpoint = newest_checkpoint(situation)
    if checkpoint is not None:
        judged["CheckpointSaved"] = Judgement("True", "Saved", f"the newest checkpoint is that of step {checkpoint}")
    elif situation.run is not None:
        judged["CheckpointSaved"] = Judgement("False", "NoneYet", "the run has not saved a checkpoint yet")
    if finish is not None:
        over = Judgement("False", "Finished", "the job has ended")
        outcome: Judgement = Judgement("True" if finish.succeeded else "False", finish.reason, finish.message)
        return judged | {"TrainersReady": over, "RolloutsReady": over, "Progressing": over, "Succeeded": outcome}
    judged["TrainersReady"] = trainers_ready(situation, decision, trainers)
    judged["RolloutsReady"] = rollouts_ready(situation, decision, rollouts)
    judged["Succeeded"] = Judgement("Unknown", "NotFinished", "the job has not ended yet")
    progressing = _progressing(situation, decision)
    if progressing is not None:
        judged["Progressing"] = progressing
    return judged


def _none_ready(count: Count) -> Count:
    return Count(count.desired, 0, 0, None)


def _admitted(situation: Situation, decision: Decision) -> Judgement:
    if decision.note:
        return Judgement("True", "EditRefused", decision.note)
    before = find(situation.status, "Admitted")
    if before.get("status") == "True" and decision.note is None:
        return Judgement("True", str(before["reason"]), str(before["message"]))
    return Judgement("True", "Accepted", admitted_message(situation))


def _suspended(decision: Decision) -> Judgement:
    if decision.hold is not None:
        return Judgement("True", decision.hold.reason, decision.hold.message)
    return Judgement("False", "NotSuspended", "the job is not suspended")


def _stalled(situation: Situation, decision: Decision) -> Judgement:
    stall, verdict = decision.stall, decision.verdict
    if isinstance(verdict, Restart) and verdict.reason == "Stalled" and stall is not None:
        return Judgement("True", stall.reason, verdict.message)
    if isinstance(verdict, Finish) and stall is not None and stall.confirmed and not verdict.succeeded:
        return Judgement("True", stall.reason, stall.message)
    if stall is not None and not stall.confirmed:
        return Judgement("Unknown", "Suspected", f"{stall.message}; a second look in half a minute decides")
    before = find(situation.status, "Stalled")
    # Until the new trainers speak, a person should see why they were started.
    if before.get("status") == "True" and situation.run is None and decision.hold is None and verdict is None:
        return Judgement("True", str(before["reason"]), str(before["message"]))
    return Judgement("False", "GettingOn", "every stage is within its deadline")


def _progressing(situation: Situation, decision: Decision) -> Judgement | None:
    if decision.hold is not None:
        return Judgement("False", "Held", decision.hold.message)
    if isinstance(decision.verdict, Restart):
        return Judgement("False", "Restarting", decision.verdict.message)
    run = situation.run
    if run is None:
        before = find(situation.status, "Progressing").get("reason")
        return (
            None if before not in (None, "NotYetKnown", "Held") else Judgement("Unknown", "Starting", "the run has not said anything yet")
        )
    if run.waiting_to_enter:
        advance = f"kubectl annotate {situation.job.key.name} {names.ANNOTATION_ADVANCE}={run.waiting_to_enter}"
        advance = advance.replace("annotate ", "annotate rrlj ", 1)
        message = f"phase {run.waiting_to_enter} is due and waits for a person; {run.phase} goes on until then: {advance}"
        return Judgement("True", "WaitingForPerson", message)
    if run.stage == "warmStart":
        return Judgement("True", "WarmStart", "the supervised warm start is running")
    return Judgement("True", "Training", f"phase {run.phase} is training")


def _progress(situation: Situation) -> dict[str, Any]:
    run, before = situation.run, situation.status
    newest = newest_checkpoint(situation)
    progress: dict[str, Any] = {} if newest is None else {"lastCheckpointStep": newest}
    if run is None:
        return progress
    progress |= {"step": run.step, "phase": run.phase, "phaseIndex": run.phase_index, "onPolicy": run.on_policy}
    if run.waiting_to_enter:
        progress["waitingToEnter"] = run.waiting_to_enter
    told = run.model_dump(by_alias=True, include={"kl_coefficient", "reward", "tokens_per_second", "accuracy", "truncated_share"})
    for field, (lowest, highest) in _BOUNDED.items():
        value = told[field]
        if value is not None and lowest <= value <= highest:
            progress[field] = _rounded(value)
    lengths = {"mean": run.response_length_mean, "p95": run.response_length_p95}
    known = {name: _rounded(value) for name, value in lengths.items() if value is not None and 0 <= value <= 1e12}
    if known:
        progress["responseLength"] = known
    progress["checkpoints"] = [
        {"step": each.step, "time": timestamp(min(max(each.time, 0.0), _LATEST)), "healthy": each.healthy}
        for each in sorted(run.checkpoints, key=lambda each: each.step)[-MOST_CHECKPOINTS:]
    ]
    progress["phases"] = _phases(run, before, situation.now)
    return progress


def _phases(run: RunStatus, before: Mapping[str, Any], now: float) -> list[Mapping[str, Any]]:
    entered = list(before.get("phases") or ())
    if run.phase and (not entered or entered[-1].get("name") != run.phase):
        entered.append({"name": run.phase, "enteredAtStep": max(0, run.step - run.phase_step), "time": timestamp(now)})
    return entered[-MOST_PHASES:]


def _rounded(value: float) -> float:
    """Four digits are what a person reads; the rest is in the metrics."""
    return float(f"{value:.4g}")


def _message(summary: str, judged: Mapping[str, Judgement]) -> str:
    """The condition that says most about the one word."""
    sentence = {
        "Succeeded": judged["Succeeded"],
        "Failed": judged["Succeeded"],
        "Paused": judged["Suspended"],
        "Suspended": judged["Suspended"],
        "Stalled": judged["Stalled"],
        "Running": judged.get("Progressing", judged["TrainersReady"]),
    }.get(summary, judged["Suspended"] if judged["Suspended"].status == "True" else judged["TrainersReady"])
    return sentence.message[:2048]
