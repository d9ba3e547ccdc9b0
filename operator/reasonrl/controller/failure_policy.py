"""What follows when trainers end, vanish or stand still: the end of the job, or a restart of all of them from the last checkpoint.

Trainers are a gang: one alone cannot go on, so all are replaced, and the rollout pods stay. A restart is ordered in the books before any
pod is deleted; what counts as a failure is taken from the budget of spec.failurePolicy.trainer, which a new checkpoint gives back.
"""

from __future__ import annotations

from dataclasses import dataclass

from reasonrl.api import names
from reasonrl.api.exit_codes import ExitCode
from reasonrl.controller.conditions import find
from reasonrl.controller.endings import Ending, ending_of, first_cause
from reasonrl.controller.ledger import Attempts, role_budget_field
from reasonrl.controller.records import PodRecord
from reasonrl.controller.settings import Budget
from reasonrl.controller.situation import Situation, ended, result_of, succeeded
from reasonrl.controller.stall import Stall

YOUNG_SECONDS = 60.0
"""A pod that was ended from outside at a younger age waits before it is made again, or a cluster without room would be asked in a loop."""
FORMED = frozenset({"AllReady", "NoLongerReady"})
"""Reasons of TrainersReady which say that all trainers of this attempt were ready together at some time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The job ends."""

    succeeded: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """The gang starts anew. `attempts` are the books afterwards."""

    attempts: Attempts
    reason: str
    message: str
    counted: bool


Verdict = Finish | Restart


def judge_trainers(situation: Situation, stall: Stall | None) -> Verdict | None:
    """None while there is nothing to do but to wait, or to create what is missing."""
    finished = success_of(situation.trainers)
    if finished is not None:
        return finished
    wanted = situation.ledger.trainer.wanted
    present = [pod for pod in situation.trainers if pod.attempt == wanted]
    gone = [pod for pod in present if ended(pod) and not pod.deleting and not succeeded(pod)]
    if gone:
        return judge_ending(situation, first_cause([ending_of(pod, situation.settings) for pod in gone]), youngest=max(gone, key=_created))
    leaving = [pod for pod in present if pod.deleting]
    if leaving:
        # Its container may end with a failure on the way out: whoever deleted the pod is the cause.
        message = f"{leaving[0].name} is being deleted from outside; all trainers start again from the last checkpoint"
        return _interrupted(situation, "Interrupted", message, max(leaving, key=_created))
    missing = situation.settings.trainers - len(present)
    if missing > 0 and present and find(situation.status, "TrainersReady").get("reason") in FORMED:
        return _interrupted(situation, "PodLost", f"{missing} of the trainers' pods vanished", max(present, key=_created))
    if missing > 0 and not present and find(situation.status, "TrainersReady").get("reason") in FORMED:
        return _interrupted(situation, "PodLost", "the trainers' pods vanished", None)
    if stall is not None and stall.confirmed:
        return count_failure(situation, "Stalled", stall.message)
    return None


def judge_token(situation: Situation) -> Restart | None:
    """A new token is of no use to pods that hold the lost one, and they are of no use to pods with a new one: all start anew."""
    wanted = situation.ledger.trainer.wanted
    if not situation.token_lost or not any(pod.attempt == wanted and not pod.deleting for pod in situation.trainers):
        return None
    secret = names.token_name(situation.job.key.name)
    message = (
        f"the Secret {secret} was deleted, and a pod with a new token could not join those with the old one; all pods are made anew with a "
        "new Secret, and training goes on from the last checkpoint"
    )
    return _interrupted(situation, "TokenLost", message, None)


def judge_ending(situation: Situation, ending: Ending, *, youngest: PodRecord) -> Verdict:
    """Of a trainer that has ended without success."""
    if ending.kind == "fatal" or (ending.kind == "outOfMemory" and not situation.settings.restart_out_of_memory):
        return Finish(succeeded=False, reason=ending.reason, message=ending.message)
    if ending.kind == "interruption":
        return _interrupted(situation, ending.reason, f"{ending.message}; all trainers start again from the last checkpoint", youngest)
    return count_failure(situation, ending.reason, ending.message)


def count_failure(situation: Situation, reason: str, message: str) -> Verdict:
    """A restart on the trainers' budget, or the end of the job when nothing of it is left."""
    budget, attempts = situation.settings.budgets["trainer"], situation.ledger.trainer
    after = attempts.failed(reason, budget=budget, now=situation.now)
    if after.in_a_row > budget.restarts:
        spent = f"{after.in_a_row} failures without a new checkpoint between them; {role_budget_field('trainer')} is {budget.restarts}"
        return Finish(succeeded=False, reason="TrainerBudgetSpent", message=f"{message}. The trainers' budget is spent: {spent}")
    return Restart(attempts=after, reason=reason, message=_counted(message, after, budget, situation.now), counted=True)


def wait_after_interruption(pod: PodRecord | None, budget: Budget, now: float) -> float:
    return budget.first_wait if pod is not None and abs(now - pod.created) < YOUNG_SECONDS else 0.0


def success_of(trainers: tuple[PodRecord, ...]) -> Finish | None:
    """The end of the run, which trainer-0 tells; of whatever attempt: the final policy is written."""
    for pod in trainers:
        if pod.index != 0 or not ended(pod) or not succeeded(pod):
            continue
        result = result_of(pod)
        if result is not None and result.exit_code == ExitCode.SUCCESS:
            where = f" at step {result.step}" if result.step is not None else ""
            return Finish(succeeded=True, reason="Completed", message=result.message or f"the last phase ended{where}")
        # A pod that is told to go may end with 0 as well; only its result says that the run was over.
        if not pod.deleting:
            return Finish(succeeded=True, reason="Completed", message=f"{pod.name} ended with exit code 0")
    return None


def _interrupted(situation: Situation, reason: str, message: str, youngest: PodRecord | None) -> Restart:
    wait = wait_after_interruption(youngest, situation.settings.budgets["trainer"], situation.now)
    after = situation.ledger.trainer.interrupted(reason, wait=wait, now=situation.now)
    return Restart(attempts=after, reason=reason, message=f"{message} (not counted as a failure)", counted=False)


def _counted(message: str, after: Attempts, budget: Budget, now: float) -> str:
    wait = max(0, round((after.not_before or now) - now))
    return (
        f"{message}; all trainers start again from the last checkpoint in {wait} s (failure {after.in_a_row} of {budget.restarts} allowed)"
    )


def _created(pod: PodRecord) -> float:
    return pod.created
