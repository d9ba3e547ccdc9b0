"""How many pods of a role exist and serve, as the status shows it: truthfully, but without a write for each pod of a job that comes up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reasonrl.controller.conditions import Judgement, find
from reasonrl.controller.decision import Decision
from reasonrl.controller.failure_policy import FORMED, Restart
from reasonrl.controller.pod_volumes import keeps_checkpoints
from reasonrl.controller.records import PodRecord
from reasonrl.controller.settings import part
from reasonrl.controller.situation import Situation, ended

SETTLE_SECONDS = 30.0
"""So long after the newest pod of a role was made, its readiness is shown only when all are ready, or when it falls. Rollout pods that are
ready before the trainers wait as long to be shown: a job that comes up is written when it begins to, and when it runs."""


_NEVER = -1
QUEUED = "Queued"
"""Reason of TrainersReady while trainers wait for leave to be scheduled."""


@dataclass(frozen=True, slots=True)
class Count:
    """`settles` is when the numbers will be true whatever happens, None if they are now."""

    desired: int
    created: int
    ready: int
    settles: float | None

    def to_status(self) -> dict[str, int]:
        return {"desired": self.desired, "created": self.created, "ready": self.ready}


def count_pods(
    situation: Situation, shown: Mapping[str, Any], pods: Iterable[PodRecord], *, desired: int, new: int, shown_when: int
) -> Count:
    """Of `pods`, those that are wanted; `new` ones are being created and counted as created. A rise to `shown_when`
    ready ones is shown at once, any other when the newest pod has had its time."""
    alive = [pod for pod in pods if not pod.deleting and not ended(pod)]
    created, ready = len(alive) + new, sum(pod.ready for pod in alive)
    before = shown.get("ready")
    if not isinstance(before, int) or ready in (before, shown_when) or ready < before or not alive:
        return Count(desired, created, ready, None)
    settles = max(pod.created for pod in alive) + SETTLE_SECONDS
    # A clock that went back would hide the truth until it has caught up.
    if not situation.now < settles <= situation.now + SETTLE_SECONDS:
        return Count(desired, created, ready, None)
    return Count(desired, created, before, settles)


def count_trainers(situation: Situation, decision: Decision) -> Count:
    gang = situation.gang if decision.ledger.trainer.wanted == situation.ledger.trainer.wanted else ()
    shown = part(situation.status, "trainers")
    desired = situation.settings.trainers
    return count_pods(situation, shown, gang, desired=desired, new=decision.new_trainers, shown_when=desired)


def count_rollouts(situation: Situation, decision: Decision, trainers: Count) -> Count:
    wanted = [pod for pod in situation.rollouts if pod.index < decision.rollouts and pod.uid not in decision.doomed]
    shown, desired = part(situation.status, "rollouts"), decision.rollouts
    alone = trainers.ready < trainers.desired
    return count_pods(situation, shown, wanted, desired=desired, new=decision.new_rollouts, shown_when=_NEVER if alone else desired)


def trainers_ready(situation: Situation, decision: Decision, count: Count) -> Judgement:
    if decision.hold is not None:
        return Judgement("False", "Held", decision.hold.message)
    if isinstance(decision.verdict, Restart):
        return Judgement("False", "Restarting", decision.verdict.message)
    if count.ready == count.desired:
        return Judgement("True", "AllReady", f"all {count.desired} trainers are ready")
    before = find(situation.status, "TrainersReady")
    if before.get("reason") in FORMED:
        return Judgement("False", "NoLongerReady", f"{count.ready} of {count.desired} trainers are ready")
    if any(pod.gated for pod in situation.gang):
        return Judgement("False", QUEUED, _queued(situation))
    obstacle = _obstacle(situation.gang)
    if obstacle is not None:
        return obstacle
    leaving = [pod for pod in situation.trainers if pod.deleting or pod.attempt != situation.ledger.trainer.wanted]
    if before.get("reason") == "Restarting":
        return Judgement("False", "Restarting", str(before.get("message") or ""))
    if leaving:
        names = ", ".join(f"{pod.name} on {pod.node or 'no node'}" for pod in leaving[:4])
        return Judgement("False", "WaitingForOldPods", f"new trainers are made when the old ones are gone: {names}")
    taken = sorted(name for name in situation.strangers if name.startswith(f"{situation.job.key.name}-trainer-"))
    if taken:
        return Judgement("False", "NameTaken", f"an object of another owner has the name of a trainer: {', '.join(taken[:4])}")
    if situation.taken_children:
        message = f"an object of another owner has the name that a part of this job needs: {', '.join(situation.taken_children)}"
        return Judgement("False", "NameTaken", message)
    return Judgement("False", "Starting", f"{count.desired} trainers are starting")


def rollouts_ready(situation: Situation, decision: Decision, count: Count) -> Judgement:
    if decision.hold is not None:
        return Judgement("False", "Held", decision.hold.message)
    if decision.rollouts == 0:
        return Judgement("True", "Colocated", "rollout engines share the trainers' pods")
    serving = f"{count.ready} of {count.desired} rollout pods are ready"
    if count.ready == count.desired:
        return Judgement("True", "AllReady", serving)
    obstacle = _obstacle(pod for pod in situation.rollouts if pod.index < decision.rollouts)
    why = f"; {obstacle.message}" if obstacle is not None else ""
    if count.ready >= situation.settings.fewest_rollouts:
        return Judgement("True", "EnoughReady", f"{serving}, and training goes on with those{why}")
    if find(situation.status, "RolloutsReady").get("status") == "True":
        return Judgement("False", "TooFewReady", f"{serving}; training needs {situation.settings.fewest_rollouts}{why}")
    return obstacle or Judgement("False", "Starting", f"{count.desired} rollout pods are starting")


def admitted_message(situation: Situation) -> str:
    settings = situation.settings
    first = settings.phase(0)
    gpus = settings.trainers * settings.trainer_gpus + first.rollouts * first.rollout_gpus
    message = f"{settings.trainers} trainers and {first.rollouts} rollout pods with {gpus} GPUs in all"
    if not keeps_checkpoints(settings):
        message += "; without spec.checkpoint.volume, checkpoints are lost with the pod that wrote them, and a restart begins anew"
    return message


def _queued(situation: Situation) -> str:
    if situation.settings.gang == "Kueue":
        queue = situation.settings.queue
        return (
            f"the trainers wait in queue {queue} until Kueue admits them; kubectl get workloads -n {situation.job.key.namespace} says why"
        )
    return f"{next(pod.name for pod in situation.gang if pod.gated)} is kept from the scheduler by a scheduling gate that somebody added"


def _obstacle(pods: Iterable[PodRecord]) -> Judgement | None:
    """What keeps a pod from starting that it cannot overcome by itself."""
    for pod in pods:
        if pod.gated:
            return Judgement("False", QUEUED, f"{pod.name} waits for leave to be scheduled")
        if pod.waiting:
            more = f": {pod.waiting_message}" if pod.waiting_message else ""
            return Judgement("False", pod.waiting, f"{pod.name} cannot start ({pod.waiting}{more})"[:1024])
        if pod.unschedulable and not pod.scheduled:
            return Judgement("False", "Unschedulable", f"{pod.name} finds no node: {pod.unschedulable}"[:1024])
    return None
